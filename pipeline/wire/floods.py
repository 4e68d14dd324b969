"""Bounds for programs that send far more than a training has to tell, and for callers that no attempt knows.

A program that is told 429 keeps what it has and sends it after Retry-After. Nothing is bounded while Redis is away.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from pipeline.models import Attempt
from pipeline.throttles import Limit, Try, address_of, take
from pipeline.wire.body import Problem

A_REQUEST = 10  # counts as so many items, so that empty requests are bounded too
STRANGERS = Limit("stranger", 600, 300)


class Flood(Problem):
    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__(429, "too_many", detail)
        self.seconds = seconds


def note_items(attempt: Attempt, items: int) -> None:
    """Raise Flood when the attempt has sent more points and lines within a minute than one may."""
    limit = Limit("wire", settings.STOKER_EVENTS_PER_MINUTE, 60)
    if seconds := take(Try(limit, str(attempt.pk), items + A_REQUEST)):
        detail = f"An attempt may send {limit.times:,} points and lines a minute. Keep the rest and send it later."
        raise Flood(detail, seconds)


def note_stranger(request: HttpRequest) -> None:
    """Raise Flood when too many unknown tokens have come from this address. Known ones are never held up by it."""
    if seconds := take(Try(STRANGERS, address_of(request))):
        raise Flood("Too many unknown tokens have come from this address. Wait, then try again.", seconds)
