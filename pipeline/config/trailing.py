"""Gives each request an id, and hands it on to the background tasks that the request leads to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any
from uuid import UUID

from asgiref.sync import iscoroutinefunction
from celery.signals import before_task_publish, task_postrun, task_prerun
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from pipeline import trail

HEADER = "X-Request-ID"
TASK_HEADER = "stoker_request"


@sync_and_async_middleware
def request_id(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Take the id that came with a request, or make one; the answer and all log lines bear it."""
    if iscoroutinefunction(get_response):
        ask: Callable[[HttpRequest], Awaitable[HttpResponseBase]] = get_response

        async def in_a_loop(request: HttpRequest) -> HttpResponseBase:
            with trail.of_request(number := _number(request)):
                return _marked(await ask(request), number)

        return in_a_loop

    def in_a_thread(request: HttpRequest) -> HttpResponseBase:
        with trail.of_request(number := _number(request)):
            return _marked(get_response(request), number)

    return in_a_thread


def _number(request: HttpRequest) -> str:
    return trail.accepted(request.headers.get(HEADER, ""))


def _marked(response: HttpResponseBase, number: str) -> HttpResponseBase:
    response.headers[HEADER] = number
    return response


@before_task_publish.connect
def _hand_on(headers: dict[str, Any] | None = None, **kwargs: Any) -> None:
    if headers is not None and (number := trail.request_id()):
        headers[TASK_HEADER] = number


_running: dict[str, ExitStack] = {}


@task_prerun.connect
def _begin(task_id: str, task: Any, args: Any = (), **kwargs: Any) -> None:
    """Log lines of a task bear the request that led to it and, where it is about one job, the job."""
    stack = _running[task_id] = ExitStack()
    # A worker finds a message's headers as attributes of the request; a task called in place finds them as given.
    number = getattr(task.request, TASK_HEADER, None) or (task.request.headers or {}).get(TASK_HEADER)
    if isinstance(number, str) and trail.GOOD.fullmatch(number):
        stack.enter_context(trail.of_request(number))
    if args and _is_id(args[0]):
        stack.enter_context(trail.of_job(args[0]))


@task_postrun.connect
def _end(task_id: str, **kwargs: Any) -> None:
    if stack := _running.pop(task_id, None):
        stack.close()


def _is_id(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(UUID(value))
    except ValueError:
        return False
