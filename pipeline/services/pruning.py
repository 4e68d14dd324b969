"""Making old jobs smaller: their curves are thinned to what a chart shows, and their log lines are removed.

The job itself, its events, samples, costs, artifacts and its last numbers stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from pipeline.live.series import Wanted, read_series
from pipeline.models import EventType, Job, LogLine, MetricPoint
from pipeline.querysets import JobQuerySet
from pipeline.states import TERMINAL
from pipeline.transitions import record_event

CURVE_POINTS = 500  # of each metric: what a chart of an old job shows
JOBS_A_ROUND = 50


@dataclass(frozen=True)
class Pruned:
    points: int = 0
    lines: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(self.points + other.points, self.lines + other.lines)


def prunable(older_than: timedelta) -> JobQuerySet:
    """Jobs that ended so long ago and were not pruned yet, the oldest first."""
    ended = [status.value for status in TERMINAL]
    return Job.objects.filter(status__in=ended, completed_at__lt=Now() - older_than, pruned_at=None).order_by(
        "completed_at"
    )


def prune_due() -> int:
    """Prune what is older than the installation keeps; return how many jobs. Nothing unless the setting asks for it."""
    days: int = settings.STOKER_KEEP_METRICS_DAYS
    if not days:
        return 0
    ids = list(prunable(timedelta(days=days)).values_list("pk", flat=True)[:JOBS_A_ROUND])
    for job_id in ids:
        prune(job_id)
    return len(ids)


def prune(job_id: UUID, *, dry_run: bool = False) -> Pruned:
    """Prune one ended job; with `dry_run` only count what would go. A job that was pruned is left alone."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, pruned_at=None).first()
        if job is None or not job.has_ended:
            return Pruned()
        superfluous = _superfluous(job_id)
        lines = LogLine.objects.filter(job=job_id)
        if dry_run:
            return Pruned(len(superfluous), lines.count())
        gone = Pruned(_delete_steps(job_id, superfluous), lines._raw_delete(lines.db))
        Job.objects.filter(pk=job_id).update(pruned_at=Now())
        if gone != Pruned():
            message = "Long after its end, its curves were thinned and its log was removed to save space."
            data = {"what": "pruned", "points": gone.points, "lines": gone.lines}
            record_event(job_id, EventType.WARNING, message, data=data)
    return gone


def _superfluous(job_id: UUID) -> list[int]:
    """The steps without which every curve still looks as it does. Flagged values and the last step always stay."""
    points = MetricPoint.objects.filter(job=job_id)
    steps = set(points.values_list("step", flat=True))
    if not steps:
        return []
    curves = read_series(job_id, Wanted(points=CURVE_POINTS))
    assert curves is not None
    needed = {max(steps), *points.filter(nonfinite__isnull=False).values_list("step", flat=True)}
    for curve in curves["series"].values():
        needed.update(curve["step"])
    return sorted(steps - needed)


def _delete_steps(job_id: UUID, steps: list[int]) -> int:
    if not steps:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM pipeline_metricpoint WHERE job_id = %s AND step = ANY(%s::bigint[])", [job_id, steps]
        )
        return cursor.rowcount
