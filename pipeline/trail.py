"""What a log line is about: the request and the job that are being worked on, for as long as they are.

Context variables follow the work through threads and coroutines; a request's id follows it into background tasks.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

GOOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_request: ContextVar[str] = ContextVar("request", default="")
_job: ContextVar[str] = ContextVar("job", default="")


def request_id() -> str:
    """Of the request that is being answered, or that led to the task that runs now; empty outside of one."""
    return _request.get()


def job_id() -> str:
    return _job.get()


def accepted(given: str) -> str:
    """The id that a caller or a proxy gave a request; a new one where that is none or could garble a log."""
    return given if GOOD.fullmatch(given) else uuid.uuid4().hex


@contextmanager
def of_request(number: str) -> Iterator[None]:
    token = _request.set(number)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def of_job(job: object) -> Iterator[None]:
    token = _job.set(str(job))
    try:
        yield
    finally:
        _job.reset(token)
