"""What keeps the secret of an account inside its provider: in no error, answer or log line does it come out.

Errors of libraries and answers of others like to repeat what they were given. Every call of a provider with an account
goes through here, so that no caller has to think of it: what it raises and returns has the secret blotted out, and so
have the lines it logs meanwhile.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from pipeline.providers.base import Account, Provider

BLOT = "[hidden]"
_in_use: ContextVar[str] = ContextVar("secret_in_use", default="")


def hide(text: str) -> str:
    """The text without the secret of the account that is being used at this moment; for log lines."""
    secret = _in_use.get()
    return text.replace(secret, BLOT) if secret else text


@functools.cache
def discreet(kind: type[Provider]) -> type[Provider]:
    """The same provider class, whose calls let nothing of their account's secret out."""
    functions = {name: inspect.getattr_static(kind, name) for name in dir(kind) if not name.startswith("_")}
    members: dict[str, Any] = {
        name: _discreet_call(function) for name, function in functions.items() if inspect.isfunction(function)
    }

    def __init__(self: Any, account: Account) -> None:  # noqa: N807 - becomes the class's own
        self._secret_to_hide = account.secret
        with _using(account.secret):
            kind.__init__(self, account)

    return cast(
        type[Provider], type(kind.__name__, (kind,), {**members, "__init__": __init__, "__module__": kind.__module__})
    )


def _discreet_call(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _using(self._secret_to_hide):
            return _without(self._secret_to_hide, function(self, *args, **kwargs))

    return call


@contextmanager
def _using(secret: str) -> Iterator[None]:
    before = _in_use.set(secret)
    try:
        yield
    except Exception as error:
        clean = _clean(error, secret)
        if clean is error:
            raise
        raise clean from None
    finally:
        _in_use.reset(before)


def _clean(error: BaseException, secret: str) -> BaseException:
    """The error, and what led to it, without the secret: a traceback in the log shows them all.

    It is the same object, except where its text is kept in a place of its own: then a plain error says the same.
    """
    error.args = tuple(_without(secret, one) for one in error.args)
    for name, value in vars(error).items():
        setattr(error, name, _without(secret, value))
    for link in ("__cause__", "__context__"):
        earlier = getattr(error, link)
        if earlier is not None:
            suppressed = error.__suppress_context__
            setattr(error, link, _clean(earlier, secret))
            error.__suppress_context__ = suppressed  # which setting a cause turns on
    if secret in f"{error}{error!r}":
        return RuntimeError(f"{type(error).__name__}: {_without(secret, str(error))}")
    return error


def _without(secret: str, value: Any) -> Any:
    """The same value with the secret blotted out of every text in it."""
    if isinstance(value, str):
        return value.replace(secret, BLOT) if secret in value else value
    if isinstance(value, Mapping):
        return {key: _without(secret, one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without(secret, one) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        told = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        clean = {name: _without(secret, one) for name, one in told.items()}
        return value if clean == told else dataclasses.replace(value, **clean)
    return value
