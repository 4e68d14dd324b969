"""The attempts of a job as a person reads them: where on the curve each began, and what each cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from pipeline.costs import unmetered
from pipeline.models import Attempt, CostRecord, Job


def attempts_of(job: Job, now: datetime | None = None) -> list[Attempt]:
    """All attempts, first to last, in three queries, each with further attributes.

    `first_step` and `last_step` are of the metric points it stored and no later attempt replaced, None without any;
    `metered` is its cost, with what has run up since the meter was read.
    """
    now = now or timezone.now()
    steps = _steps(job)
    records = CostRecord.objects.filter(job=job, kind=CostRecord.Kind.METERED).order_by().values_list("attempt")
    metered = dict(records.annotate(amount=Sum("amount")))
    attempts: list[Any] = list(job.attempts.order_by("n"))
    for attempt in attempts:
        attempt.first_step, attempt.last_step = steps.get(attempt.n, (None, None))
        attempt.metered = metered.get(attempt.pk, Decimal(0))
        if attempt.is_open:
            attempt.metered += unmetered(attempt, now)
    return attempts


def _steps(job: Job) -> dict[int, tuple[int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attempt, MIN(step), MAX(step) FROM pipeline_metricpoint WHERE job_id = %s GROUP BY attempt",
            [job.pk],
        )
        return {attempt: (first, last) for attempt, first, last in cursor.fetchall()}
