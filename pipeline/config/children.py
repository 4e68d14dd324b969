"""One supervised process: started on a leash, its output read by lines, started again with growing pauses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

LEASH = Path(__file__).with_name("leash.py")
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 30.0  # having run this long, a process starts with the shortest pause again
LOG_LIMIT = 10 * 1024 * 1024

Tell = Callable[[str, str], None]  # (name of the process, line)


class Child:
    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        tell: Tell,
        keep_open: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.command = command
        self.environment = dict(environment)
        self.folder = folder
        self.log = log
        self.tell = tell
        self.keep_open = keep_open
        self.process: subprocess.Popen[str] | None = None
        self.starts = 0
        self.last_lines: deque[str] = deque(maxlen=30)
        self._started_at = 0.0
        self._start_next = 0.0
        self._pause = FIRST_PAUSE
        self._reader: threading.Thread | None = None

    def look(self) -> None:
        """Start the process when it is due. Must be called again and again by one thread that outlives the process: on
        Linux the leash is tied to the thread that started it."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            if now - self._started_at > STEADY_SECONDS:
                self._pause = FIRST_PAUSE
            self.process = None
            self._start_next = now + self._pause
            self.tell(self.name, f"ended {_how(code)}; starting again in {self._pause:g} s. Log: {self.log}")
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        elif now >= self._start_next:
            self._start()

    def send(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.join(2)

    def _start(self) -> None:
        self.starts += 1
        self._started_at = time.monotonic()
        self.process = subprocess.Popen(
            # Isolated and without site: the leash needs nothing, and gives way to the real program at once.
            [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *self.command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the supervisor, which stops everything in order
            pass_fds=self.keep_open,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True, name=f"read {self.name}")
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        log = open(self.log, "a")
        with process.stdout:
            for line in process.stdout:
                if log.tell() > LOG_LIMIT:
                    log.close()
                    self.log.replace(self.log.with_suffix(".log.1"))
                    log = open(self.log, "a")
                log.write(line)
                log.flush()
                self.last_lines.append(line.rstrip("\n"))
                self.tell(self.name, line.rstrip("\n"))
        log.close()


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"
