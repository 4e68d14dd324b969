"""Refusals of services: what is wrong, where, and what to do. Shown to people as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    field: str  # dotted path of the input field, "" for the whole request
    message: str
    code: str = "invalid"


class Refusal(Exception):
    """A request that cannot be done. `code` is stable for programs, the message is for people."""

    code = "refused"

    def __init__(self, message: str, *, code: str | None = None):
        super().__init__(message)
        self.code = code or self.code


class InvalidInput(Refusal):
    """The request itself is wrong; every error is listed, not only the first."""

    code = "invalid"

    def __init__(self, errors: list[FieldError]):
        super().__init__(" ".join(error.message for error in errors))
        self.errors = errors


class Conflict(Refusal):
    """The request is fine, but not in the state things are in now."""

    code = "conflict"
