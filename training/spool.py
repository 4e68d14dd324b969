"""The event lines of one attempt, on disk: the truth from which they are sent, and sent again.

One JSON line per event, numbered 1, 2, 3... without holes. A disk that is full must not end a training: such a line is
kept in memory instead.
"""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path

IN_MEMORY = 2**64 - 1  # in place of an offset


class Spool:
    """`append` may be called by several threads only under a lock of the caller; `read` needs none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = array("Q")  # where line n begins, at index n - 1
        self._memory: dict[int, bytes] = {}
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._end = self._recover()

    @property
    def last_n(self) -> int:
        return len(self._offsets)

    def append(self, line: bytes) -> int:
        """Store one line (without line break) as number `last_n + 1` and return the number."""
        n = len(self._offsets) + 1
        data = line + b"\n"
        try:
            written = os.pwrite(self._fd, data, self._end)
        except OSError:
            written = -1
        if written == len(data):
            self._offsets.append(self._end)
            self._end += written
        else:  # The next line overwrites what a short write left behind.
            self._offsets.append(IN_MEMORY)
            self._memory[n] = line
        return n

    def read(self, first_n: int, max_lines: int, max_bytes: int) -> list[bytes]:
        """Return lines from `first_n` on, without line breaks, as many as fit into both limits but at least one."""
        lines: list[bytes] = []
        size = 0
        last = min(len(self._offsets), first_n + max_lines - 1)
        for n in range(first_n, last + 1):
            line = self._line(n)
            size += len(line) + 1
            if lines and size > max_bytes:
                break
            lines.append(line)
        return lines

    def replace(self, n: int, line: bytes) -> None:
        """Put another line in place of one that the server will never accept. Only for this process."""
        self._offsets[n - 1] = IN_MEMORY
        self._memory[n] = line

    def close(self) -> None:
        os.close(self._fd)

    def _line(self, n: int) -> bytes:
        offset = self._offsets[n - 1]
        if offset == IN_MEMORY:
            return self._memory[n]
        line = b""
        while b"\n" not in line:
            part = os.pread(self._fd, max(4096, len(line)), offset + len(line))
            if not part:
                break
            line += part
        return line.split(b"\n", 1)[0]

    def _recover(self) -> int:
        """Index the lines that an earlier process of this attempt wrote; drop a last line that was cut by its death."""
        end = 0
        with os.fdopen(os.dup(self._fd), "rb") as stream:
            stream.seek(0)
            for line in stream:
                if not line.endswith(b"\n") or _number(line) != len(self._offsets) + 1:
                    break
                self._offsets.append(end)
                end += len(line)
        os.ftruncate(self._fd, end)
        return end


def _number(line: bytes) -> int | None:
    try:
        n = json.loads(line)["n"]
    except (ValueError, KeyError, TypeError):
        return None
    return n if isinstance(n, int) else None
