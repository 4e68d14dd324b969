"""Answers for load balancers and supervisors: is this process alive, can it serve."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

BEAT_LATE_SECONDS = 60


@require_safe
@never_cache
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nobody else: a broken database must not get healthy web processes killed."""
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, else 503, so that a load balancer waits.

    `degraded` or not is for people and monitors: `background` tells whether beat, broker and worker have shown a common
    sign of life within a minute. Late ones do not make the pages unavailable, so they do not change the status code.
    """
    try:
        age = _seconds_since_beat()
    except DatabaseError:
        return JsonResponse({"status": "unavailable", "detail": "The database does not answer."}, status=503)
    background = "never seen" if age is None else "ok" if age <= BEAT_LATE_SECONDS else "late"
    status = "ok" if background == "ok" else "degraded"
    return JsonResponse({"status": status, "background": background, "background_seen_seconds_ago": age})


def _seconds_since_beat() -> float | None:
    from pipeline.models import ProcessBeat

    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    beat = ProcessBeat.objects.filter(name="beat").first()
    return None if beat is None else round((now.astimezone(UTC) - beat.at).total_seconds(), 1)
