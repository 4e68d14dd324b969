"""Everything that this process prints, also from C libraries, as log events, while it is still printed.

Both streams are replaced at the level of file descriptors by pipes. A thread per stream cuts lines, keeps only the last
state of a progress bar (the text after the last carriage return), takes secrets out, prints the line and reports it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable

from training.contract import MAX_LOG_TEXT

MAX_TOTAL_BYTES = 20 * 1024 * 1024  # of one run; a library in a loop must not fill the disk and the database
PROGRESS_SECONDS = 10.0  # how often an unfinished progress bar is reported
FLOOD_LINES = 40  # lines read at once that are reported as one event


class Capture:
    """`report(text, stream)` gets what was printed, without secrets; `redact` takes them out."""

    def __init__(self, report: Callable[[str, str], None], redact: Callable[[str], str]) -> None:
        self._report = report
        self._redact = redact
        self._real: dict[int, int] = {}
        self._threads: list[threading.Thread] = []
        self._total = 0

    def start(self) -> None:
        for fd, name in ((1, "stdout"), (2, "stderr")):
            self._real[fd] = os.dup(fd)
            read_end, write_end = os.pipe()
            os.dup2(write_end, fd)
            os.close(write_end)
            thread = threading.Thread(target=self._pump, args=(read_end, self._real[fd], name), daemon=True)
            thread.start()
            self._threads.append(thread)
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(line_buffering=True)

    def real_fd(self, fd: int) -> int:
        return self._real.get(fd, fd)

    def say(self, text: str) -> None:
        """Print a line of the program itself past the capture; the caller reports it."""
        _write(self.real_fd(2), (self._redact(text) + "\n").encode("utf-8", "replace"))

    def close(self, timeout: float = 2.0) -> None:
        """Give both streams back and wait until what was printed has been reported."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        for fd, real in self._real.items():
            os.dup2(real, fd)
        for thread in self._threads:
            thread.join(timeout)  # A child process that still holds the pipe open must not keep us.
        self._threads = []

    def _pump(self, source: int, target: int, name: str) -> None:
        cutter = LineCutter()
        while chunk := os.read(source, 65536):
            self._pass_on(cutter.feed(chunk), target, name)
        self._pass_on(cutter.rest(), target, name)
        os.close(source)

    def _pass_on(self, lines: list[str], target: int, name: str) -> None:
        if not lines:
            return
        lines = [self._redact(line) for line in lines]
        _write(target, ("\n".join(lines) + "\n").encode("utf-8", "replace"))
        lines = [line for line in lines if line.strip()]
        before = self._total
        self._total += sum(map(len, lines))
        if before > MAX_TOTAL_BYTES or not lines:
            return
        if self._total > MAX_TOTAL_BYTES:
            lines = ["Further output is left out: the run has printed more than 20 MB."]
        for text in join_floods(lines):
            self._report(text, name)


class LineCutter:
    """Bytes in, finished lines out. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buffer = b""
        self._last_progress = clock()

    def feed(self, chunk: bytes) -> list[str]:
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        texts = [_shown(line) for line in lines]
        if b"\r" in self._buffer:
            done, _, rest = self._buffer.rpartition(b"\r")
            if self._clock() - self._last_progress >= PROGRESS_SECONDS:
                self._last_progress = self._clock()
                texts.append(_shown(rest if rest.strip() else done))
            self._buffer = b"\r" + (rest if rest.strip() else done.rpartition(b"\r")[2])
        if len(self._buffer) > 4 * MAX_LOG_TEXT:
            texts.append(_shown(self._buffer))
            self._buffer = b""
        return texts

    def rest(self) -> list[str]:
        line, self._buffer = self._buffer, b""
        return [_shown(line)] if line.strip() else []


def join_floods(lines: list[str]) -> list[str]:
    """One event per line, but many lines printed at once become few events; none is longer than MAX_LOG_TEXT."""
    lines = [line[: MAX_LOG_TEXT - 1] for line in lines]
    if len(lines) <= FLOOD_LINES:
        return lines
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + len(line) + 1 <= MAX_LOG_TEXT:
            texts[-1] += "\n" + line
        else:
            texts.append(line)
    return texts


def _shown(line: bytes) -> str:
    """What a terminal would show in the end: the text after the last carriage return that is followed by text."""
    parts = [part for part in line.split(b"\r") if part.strip()]
    return parts[-1].decode("utf-8", "replace").rstrip() if parts else ""


def _write(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError:
            return  # Whoever read our output is gone; the events still carry it.
