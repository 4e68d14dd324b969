"""Ends a run that must not go on: its time is over, the server is silent, or the process was told to end.

First it asks for a stop, so that a checkpoint is saved; when the training does not stop within the grace time, the
process is ended hard. A machine that trains for nobody costs money.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from training.contract import FailureReason, Limits
from training.stopping import StopKind, StopRequest, StopSignal

POLL_SECONDS = 0.1
GRACE_SECONDS = 120.0  # for the checkpoint, after a stop that we decided ourselves
LAST_NET_SECONDS = 60.0
MOVED_SECONDS = 5.0  # smaller changes of the deadline are the time that answers take


class Watchdog:
    """`last_contact()` is when the server last answered (monotonic seconds); `end_hard` must not return.

    `told()` is the deadline as the server said last, if it did; a deadline that moved is written to `until_file`, too.
    """

    def __init__(
        self,
        limits: Limits,
        stop: StopSignal,
        last_contact: Callable[[], float],
        end_hard: Callable[[StopRequest], None],
        started: float,
        peer_failed: Callable[[], bool] = lambda: False,
        told: Callable[[], float | None] = lambda: None,
        until_file: Path | None = None,
    ) -> None:
        self._limits = limits
        self._stop = stop
        self._last_contact = last_contact
        self._end_hard = end_hard
        self._deadline = started + limits.max_seconds
        self._peer_failed = peer_failed
        self._told = told
        self._until_file = until_file
        self._stderr_fd = 2
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self, stderr_fd: int = 2) -> None:
        self._stderr_fd = stderr_fd
        # A thread in C, which also works when Python itself is stuck. It prints all stacks and exits with 1.
        self._last_net(self._deadline - time.monotonic() + GRACE_SECONDS + LAST_NET_SECONDS)
        self._thread.start()

    def close(self) -> None:
        self._done.set()
        faulthandler.cancel_dump_traceback_later()

    def _run(self) -> None:
        netted = False
        while not self._done.wait(POLL_SECONDS):
            if self._stop.got_sigterm:
                self._stop.ask_by_signal()
            request = self._stop.request
            if request is None:
                self._look(time.monotonic())
                continue
            if not netted:
                netted = True
                self._last_net(request.until - time.monotonic() + LAST_NET_SECONDS)
            if time.monotonic() >= request.until or self._peer_failed():
                # Of several training processes one that failed takes the others along: they wait for it for ever.
                self._end_hard(request)
                return

    def _look(self, now: float) -> None:
        told = self._told()
        if told is not None and abs(told - self._deadline) >= MOVED_SECONDS:
            self._move(told, now)
        if now >= self._deadline:
            text = "The run reached its time limit."
            self._stop.ask(StopKind.DEADLINE, FailureReason.DEADLINE_EXCEEDED, text, GRACE_SECONDS)
        elif now - self._last_contact() >= self._limits.silence_seconds:
            text = f"The server has not answered for {self._limits.silence_seconds} seconds."
            self._stop.ask(StopKind.SILENT, FailureReason.SERVER_SILENT, text, GRACE_SECONDS)

    def _move(self, deadline: float, now: float) -> None:
        """Somebody changed a limit while the program runs."""
        self._deadline = deadline
        self._last_net(deadline - now + GRACE_SECONDS + LAST_NET_SECONDS)
        if self._until_file is not None:
            with contextlib.suppress(OSError):  # a full disk: those outside keep to the earlier limit
                draft = self._until_file.with_suffix(".draft")
                draft.write_text(str(int(time.time() + deadline - now)), "ascii")
                draft.replace(self._until_file)

    def _last_net(self, seconds: float) -> None:
        faulthandler.dump_traceback_later(max(seconds, 1.0), exit=True, file=self._stderr_fd)


def catch_sigterm(stop: StopSignal) -> None:
    """The handler only sets a flag: it interrupts the main thread anywhere, even inside a lock."""

    def handler(signum: int, frame: object) -> None:
        stop.got_sigterm = True

    signal.signal(signal.SIGTERM, handler)
    if os.name == "posix":
        signal.signal(signal.SIGHUP, handler)
