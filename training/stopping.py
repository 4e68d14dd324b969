"""Whether, why and until when the run must stop. One object, shared by all threads of the program."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from training.contract import STOP_BY_SIGNAL, ExitCode, FailureReason, Outcome
from training.failures import EXIT_CODES, StopRequested


class StopKind(StrEnum):
    SERVER = "server"  # the server asked
    SIGNAL = "signal"  # SIGTERM: the machine is being taken away, or a person ended the process
    DEADLINE = "deadline"  # max_seconds are over
    SILENT = "silent"  # the server has not answered for too long
    REFUSED = "refused"  # the server said that this attempt is over: nothing can be reported or uploaded


@dataclass(frozen=True)
class StopRequest:
    kind: StopKind
    reason: str
    message: str
    until: float  # time.monotonic() at which the process is ended hard

    @property
    def outcome(self) -> Outcome:
        return Outcome.STOPPED if self.kind in (StopKind.SERVER, StopKind.SIGNAL) else Outcome.FAILED

    @property
    def exit_code(self) -> ExitCode:
        match self.kind:
            case StopKind.DEADLINE | StopKind.SILENT:
                return EXIT_CODES[FailureReason(self.reason)]
            case StopKind.REFUSED:
                return ExitCode.REFUSED
            case _:
                return ExitCode.STOPPED


class StopSignal:
    """The first request counts; only the server's word that the attempt is over replaces it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.request: StopRequest | None = None
        self.save_requested = False  # the server asked for a checkpoint without a stop
        self.got_sigterm = False  # set by the signal handler, which must not take a lock

    @property
    def is_set(self) -> bool:
        return self.request is not None or self.got_sigterm

    @property
    def is_refused(self) -> bool:
        return self.request is not None and self.request.kind is StopKind.REFUSED

    def ask(self, kind: StopKind, reason: str, message: str, grace_seconds: float) -> None:
        request = StopRequest(kind, reason, message, time.monotonic() + max(grace_seconds, 1.0))
        with self._lock:
            if self.request is None or (kind is StopKind.REFUSED and not self.is_refused):
                self.request = request

    def ask_by_signal(self) -> None:
        self.ask(StopKind.SIGNAL, STOP_BY_SIGNAL, "The process was told to end (SIGTERM).", 60.0)

    def check(self) -> None:
        """Raise StopRequested when the run must stop. Called between phases."""
        if self.got_sigterm:
            self.ask_by_signal()
        if self.request is not None:
            raise StopRequested(self.request.message)

    def no_time_left(self) -> bool:
        """For what is still done after a stop request, such as uploading the checkpoint."""
        request = self.request
        if request is None:
            return False
        return request.kind in (StopKind.REFUSED, StopKind.SILENT) or time.monotonic() >= request.until
