"""What can go wrong, each with a sentence for people as its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


class StokerError(Exception):
    """Everything this package raises on purpose."""


class Unreachable(StokerError):
    """No answer from the server, or only that it is busy, for as long as was waited."""


class StillWaiting(StokerError):
    """What was waited for did not come in time."""


@dataclass(frozen=True)
class FieldProblem:
    field: str  # dotted path in the request, blank for the whole
    message: str
    code: str = ""


class Refused(StokerError):
    """The server's own answer: its sentence, the HTTP status, a stable `code`, and every wrong field."""

    def __init__(self, status: int, detail: str, code: str = "", fields: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.code, self.fields = status, detail, code, fields


class NotSignedIn(Refused):
    """The server does not know the token."""


def refusal(response: httpx.Response) -> Refused:
    """What the server said, also where something between it and us answered in its place."""
    try:
        body: Any = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "detail" not in body:
        body = {"detail": f"{response.request.url} answered {response.status_code} {response.reason_phrase}."}
    fields = tuple(
        FieldProblem(str(one.get("field", "")), str(one.get("message", "")), str(one.get("code", "")))
        for one in body.get("errors", ())
        if isinstance(one, dict)
    )
    kind = NotSignedIn if response.status_code == 401 else Refused
    return kind(response.status_code, str(body["detail"]), str(body.get("code", "")), fields)
