"""Request bodies of the wire: bounded, decoded without ever raising anything but a `Problem`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, UnreadablePostError

from training.contract import MAX_BODY_BYTES


class Problem(Exception):
    """An answer that is an error. Becomes an application/problem+json document."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any):
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra


def read_json(request: HttpRequest) -> Any:
    """The decoded body. Python's and JavaScript's NaN and Infinity are understood, whatever the JSON grammar says."""
    length = request.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        raw = request.body
    except RequestDataTooBig as error:
        raise _too_large() from error
    except UnreadablePostError as error:
        raise Problem(400, "unreadable", "The request ended before its body was complete. Send it again.") from error
    if len(raw) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        return msgspec.json.decode(raw)
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _lenient(raw)


def _lenient(raw: bytes) -> Any:
    """For what the fast decoder refuses: bare NaN and Infinity, and integers of any length."""
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError and numbers of absurd length
        raise Problem(400, "not_json", f"The body is not JSON: {str(error)[:200]}.") from error


def _too_large() -> Problem:
    limit = MAX_BODY_BYTES // (1024 * 1024)
    return Problem(413, "too_large", f"The body is larger than {limit} MB. Send the points in smaller batches.")


def _too_deep() -> Problem:
    return Problem(400, "too_deep", "The body is nested too deeply. A batch is a list of flat objects.")
