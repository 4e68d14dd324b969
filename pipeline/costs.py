"""Observed machine time to money. The ledger is append-only; a job's cost is the sum of its records."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F

from pipeline.models import Attempt, CostRecord, Job

METER_EVERY = timedelta(seconds=60)
_HOUR = Decimal(3600)
_MICRO = Decimal("0.000001")


def amount_for(duration: timedelta, price_per_hour: Decimal) -> Decimal:
    """US dollars for `duration` at `price_per_hour`, to the millionth."""
    return (_seconds(duration) * price_per_hour / _HOUR).quantize(_MICRO)


def meter(attempt: Attempt, until: datetime, *, final: bool = False) -> Decimal:
    """Write down the machine time since the last reading; return what it cost. Call with the job's row locked.

    Nothing is billed before the machine was seen. Short pieces wait for the next reading unless `final`.
    """
    if attempt.metered_until is None or until <= attempt.metered_until:
        return Decimal(0)
    duration = until - attempt.metered_until
    if duration < METER_EVERY and not final:
        return Decimal(0)
    amount = amount_for(duration, attempt.price_per_hour)
    CostRecord.objects.create(
        job_id=attempt.job_id,
        attempt=attempt,
        period_start=attempt.metered_until,
        period_end=until,
        seconds=_seconds(duration),
        price_per_hour=attempt.price_per_hour,
        amount=amount,
    )
    attempt.metered_until = until
    Attempt.objects.filter(pk=attempt.pk).update(metered_until=until)
    Job.objects.filter(pk=attempt.job_id).update(current_cost=F("current_cost") + amount)
    return amount


def _seconds(duration: timedelta) -> Decimal:
    return Decimal(duration // timedelta(microseconds=1)) / 1_000_000
