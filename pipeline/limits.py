"""For how long a machine may run: what is left of its job's time, and of its money."""

from __future__ import annotations

from decimal import Decimal

from django.utils import timezone

from pipeline.costs import unmetered
from pipeline.models import Attempt, Job
from pipeline.services.facts import time_left

LEAST_SECONDS = 60  # shorter limits would end a program before it can say why


def seconds_granted(job: Job, attempt: Attempt) -> int:
    """Seconds from the program's start."""
    return _least(time_left(job, attempt).total_seconds(), _money_seconds(job, attempt))


def seconds_from_now(job: Job, attempt: Attempt) -> int:
    """Seconds that a program which runs has from now on. Follows limits that people change meanwhile."""
    left = time_left(job, attempt)
    if attempt.first_contact_at is not None:
        left -= timezone.now() - attempt.first_contact_at
    return _least(left.total_seconds(), _money_seconds(job, attempt))


def _least(time_seconds: float, money_seconds: float | None) -> int:
    return max(LEAST_SECONDS, int(time_seconds if money_seconds is None else min(time_seconds, money_seconds)))


def _money_seconds(job: Job, attempt: Attempt) -> float | None:
    """For how long the money lasts; None where it is no limit."""
    if job.cost_limit is None or attempt.price_per_hour <= 0:
        return None
    money = max(job.cost_limit - job.current_cost - unmetered(attempt, timezone.now()), Decimal(0))
    return float(money / attempt.price_per_hour) * 3600
