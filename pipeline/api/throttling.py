"""The brakes of the API, as REST framework calls them. What the numbers are and why is in docs/api.md."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from pipeline.throttles import Limit, Try, Without, address_of, take

# A token of 256 bits is not guessed. Sixty are more than a program with an old token needs to be noticed.
WRONG_TOKENS = Limit("wrong-token", 60, 300, Without.DATABASE)


class PersonThrottle(BaseThrottle):
    """So many requests a minute for each person, whatever token or page they come from; fewer that make something."""

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.user is None or not request.user.is_authenticated:
            return True
        who = str(request.user.pk)
        tries = [Try(Limit("request", settings.STOKER_REQUESTS_PER_MINUTE, 60), who)]
        if getattr(view, "action", None) in getattr(view, "repeatable", ()):
            tries.append(Try(Limit("creation", settings.STOKER_CREATIONS_PER_MINUTE, 60), who))
        self._wait = take(*tries)
        return self._wait == 0

    def wait(self) -> float:
        return self._wait


def note_wrong_token(request: Request) -> None:
    """Raise Throttled when too many wrong tokens have come from this address."""
    if seconds := take(Try(WRONG_TOKENS, address_of(request._request))):
        raise Throttled(seconds)
