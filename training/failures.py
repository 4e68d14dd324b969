"""Why a run ended before its end, as exceptions, and how any other exception is named for the person who reads it."""

from __future__ import annotations

import traceback

from training.contract import ExitCode, FailureReason

MAX_STACK = 20_000  # characters; the newest calls are at the end, so the beginning is cut

# How libraries say that memory ran out when they do not raise a type of their own.
MEMORY_PHRASES = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "defaultcpuallocator",
)

EXIT_CODES = {
    FailureReason.OUT_OF_MEMORY: ExitCode.OUT_OF_MEMORY,
    FailureReason.INVALID_DATA: ExitCode.INVALID_DATA,
    FailureReason.TRAINING_ERROR: ExitCode.TRAINING_ERROR,
    FailureReason.DEADLINE_EXCEEDED: ExitCode.DEADLINE_EXCEEDED,
    FailureReason.SERVER_SILENT: ExitCode.SERVER_SILENT,
}


class RunError(Exception):
    """The run cannot go on; `str()` is a sentence that says what happened and what to do."""

    def __init__(self, message: str, reason: FailureReason = FailureReason.TRAINING_ERROR) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidDataError(RunError):
    def __init__(self, message: str) -> None:
        super().__init__(message, FailureReason.INVALID_DATA)


class SetupError(Exception):
    """A variable or the run spec is missing or unreadable: nothing can be reported, the program ends with code 2."""


class StopRequested(Exception):
    """Raised between two phases when a stop has been requested; the stop signal holds why."""


def explain(error: BaseException) -> tuple[FailureReason, str, str]:
    """Return (reason, sentence, stack) of an exception that ended the run."""
    stack = "".join(traceback.format_exception(error))
    if len(stack) > MAX_STACK:
        stack = "[the beginning is cut]\n" + stack[-MAX_STACK:]
    if isinstance(error, RunError):
        return error.reason, str(error), stack
    text = " ".join(str(error).split())[:500]
    if _is_out_of_memory(error):
        sentence = (
            "The machine ran out of memory. Lower per_device_train_batch_size or max_length, turn "
            "activation_checkpointing on, use 4bit quantization, or take a GPU with more memory. "
            f"({text or type(error).__name__})"
        )
        return FailureReason.OUT_OF_MEMORY, sentence, stack
    return FailureReason.TRAINING_ERROR, f"{type(error).__name__}: {text}" if text else type(error).__name__, stack


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Look through the chain of causes: libraries wrap the exception of the allocator."""
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, RuntimeError | OSError) and any(p in str(error).lower() for p in MEMORY_PHRASES):
            return True
        error = error.__cause__ or error.__context__
    return False
