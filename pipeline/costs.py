"""Observed machine time to money. The ledger is append-only; a job's cost is the sum of its metered records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DecimalField, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from pipeline.models import Attempt, CostRecord, Job
from pipeline.providers.registry import provider_class, provider_names
from pipeline.transitions import allocate

METER_EVERY = timedelta(seconds=60)
STARTING_SECONDS = 1800  # machines cost money before the maximum duration begins to count
_HOUR = Decimal(3600)
_MICRO = Decimal("0.000001")

# What each active job costs at the moment %(now)s: `cost` is what is metered and, beside it, `unmetered` has run up
# since the meter was read. `most` is what it may cost in all; null where nothing limits that.
LIVE_JOBS = f"""
    SELECT job.id, job.owner_id, job.status, job.budget_limit, job.cost_limit, job.budget_told, job.estimated_cost,
        job.provider, price.per_hour,
        CASE WHEN job.status = 'running' THEN job.eta_seconds END AS eta_seconds,
        unmetered.amount AS unmetered, job.current_cost + unmetered.amount AS cost,
        CASE WHEN price.per_hour = 0 THEN 0
             ELSE COALESCE(job.cost_limit, ROUND(price.per_hour * (job.max_duration + {STARTING_SECONDS}) / 3600, 6))
        END AS most
    FROM pipeline_job job
    LEFT JOIN pipeline_attempt run ON run.job_id = job.id AND run.state IN ('intent', 'live')
    CROSS JOIN LATERAL (SELECT COALESCE(run.price_per_hour, job.price_per_hour) AS per_hour) price
    CROSS JOIN LATERAL (
        SELECT ROUND(COALESCE(
            GREATEST(EXTRACT(EPOCH FROM %(now)s::timestamptz - run.metered_until), 0) * run.price_per_hour / 3600, 0
        ), 6) AS amount
    ) unmetered
    WHERE job.status IN ('queued', 'initializing', 'running', 'cancelling')"""  # noqa: S608 - constants


def simulated_providers() -> list[str]:
    """Where nothing real happens. What jobs cost there is invented: their own budgets count it, no month does."""
    return [name for name in provider_names() if provider_class(name).simulated]


def amount_for(duration: timedelta, price_per_hour: Decimal) -> Decimal:
    """US dollars for `duration` at `price_per_hour`, to the millionth."""
    return (_seconds(duration) * price_per_hour / _HOUR).quantize(_MICRO)


def projection(cost: Decimal, eta_seconds: float | None, price_per_hour: Decimal) -> Decimal | None:
    """What a job will have cost at its end if it goes on at this pace; None while there is no pace."""
    if eta_seconds is None:
        return None
    return cost + amount_for(timedelta(seconds=max(eta_seconds, 0.0)), price_per_hour)


def unmetered(attempt: Attempt, now: datetime) -> Decimal:
    """What a live attempt has cost since the meter was read."""
    if attempt.metered_until is None or not attempt.is_open:
        return Decimal(0)
    return amount_for(max(now - attempt.metered_until, timedelta(0)), attempt.price_per_hour)


def meter(attempt: Attempt, until: datetime, *, price: Decimal | None = None, final: bool = False) -> Decimal:
    """Write down the machine time since the last reading; return what it cost. Call with the job's row locked.

    Nothing is billed before the machine was seen. Short pieces wait for the next reading unless `final`. `price` is
    what the provider asks now: where it differs, the piece so far ends at the old price and the next one has the new.
    """
    changed = price is not None and _price(price) != attempt.price_per_hour
    amount = _write_piece(attempt, until, even_short=final or changed)
    if changed:
        assert price is not None
        attempt.price_per_hour = _price(price)
        Attempt.objects.filter(pk=attempt.pk).update(price_per_hour=attempt.price_per_hour)
    return amount


def meter_many(attempts: Collection[Attempt], leases: Iterable[UUID], until: datetime) -> int:
    """Read the meters of many live machines whose prices are as before; return how many were read.

    Three statements however many there are. Those whose job is no longer held with one of `leases` are left alone.
    """
    if not attempts:
        return 0
    with transaction.atomic(), connection.cursor() as cursor:
        jobs = [attempt.job_id for attempt in attempts]
        cursor.execute(_LOCK, {"jobs": jobs, "leases": list(set(leases))})
        held = [row[0] for row in cursor.fetchall()]
        cursor.execute(_METER, {"runs": [attempt.pk for attempt in attempts], "jobs": held, "until": until})
        return cursor.rowcount


_LOCK = """
    SELECT id FROM pipeline_job WHERE id = ANY(%(jobs)s) AND lease_token = ANY(%(leases)s) ORDER BY id FOR UPDATE"""
_METER = """
    WITH piece AS (
        SELECT run.id, run.job_id, job.owner_id, run.provider, run.metered_until AS since, run.price_per_hour,
            EXTRACT(EPOCH FROM %(until)s::timestamptz - run.metered_until) AS seconds
        FROM pipeline_attempt run JOIN pipeline_job job ON job.id = run.job_id
        WHERE run.id = ANY(%(runs)s) AND run.job_id = ANY(%(jobs)s) AND run.state = 'live'
            AND run.metered_until < %(until)s
    ), priced AS (
        SELECT *, ROUND(seconds * price_per_hour / 3600, 6) AS amount FROM piece
    ), written AS (
        INSERT INTO pipeline_costrecord (owner_id, provider, job_id, attempt_id, kind, period_start, period_end,
            seconds, price_per_hour, amount, created_at)
        SELECT owner_id, provider, job_id, id, 'metered', since, %(until)s, ROUND(seconds, 3), price_per_hour, amount,
            NOW() FROM priced
    ), read AS (
        UPDATE pipeline_attempt run SET metered_until = %(until)s FROM priced WHERE run.id = priced.id
    )
    UPDATE pipeline_job job SET current_cost = current_cost + priced.amount FROM priced WHERE job.id = priced.job_id"""


def _write_piece(attempt: Attempt, until: datetime, *, even_short: bool) -> Decimal:
    if attempt.metered_until is None or until <= attempt.metered_until:
        return Decimal(0)
    duration = until - attempt.metered_until
    if duration < METER_EVERY and not even_short:
        return Decimal(0)
    amount = amount_for(duration, attempt.price_per_hour)
    CostRecord.objects.create(
        owner_id=attempt.job.owner_id,
        provider=attempt.provider,
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


@dataclass(frozen=True)
class Difference:
    """A job whose cost is not the sum of its records."""

    job_id: UUID
    name: str
    said: Decimal
    final: Decimal | None
    recorded: Decimal


def differences(job_id: UUID | None = None) -> Iterator[Difference]:
    """Every job, or this one, whose `current_cost` or `final_cost` is not the sum of its metered records."""
    wrong = ~Q(current_cost=F("recorded")) | Q(final_cost__isnull=False) & ~Q(final_cost=F("recorded"))
    for job in _with_recorded(job_id).filter(wrong).iterator():
        yield Difference(job.pk, job.name, job.current_cost, job.final_cost, job.recorded)


def rebuild(job_id: UUID) -> Difference | None:
    """Set a job's cost to the sum of its metered records. Return what was wrong, None when nothing was."""
    with transaction.atomic():
        Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        found = next(differences(job_id), None)
        if found is not None:
            allocate(job_id)  # tells open pages
            fields = {"current_cost": found.recorded} | ({} if found.final is None else {"final_cost": found.recorded})
            Job.objects.filter(pk=job_id).update(**fields)
    return found


def _with_recorded(job_id: UUID | None) -> QuerySet[Any]:
    sums = (
        CostRecord.objects.filter(job=OuterRef("pk"), kind=CostRecord.Kind.METERED)
        .order_by()
        .values("job")
        .annotate(total=Sum("amount"))
        .values("total")
    )
    jobs = Job.objects.order_by("created_at") if job_id is None else Job.objects.filter(pk=job_id)
    money = DecimalField(max_digits=14, decimal_places=6)
    return jobs.annotate(recorded=Coalesce(Subquery(sums), Decimal(0), output_field=money))


def _price(price: Decimal) -> Decimal:
    """As it is stored. A provider that asks for less than nothing is not believed to pay us."""
    return max(price, Decimal(0)).quantize(_MICRO)


def _seconds(duration: timedelta) -> Decimal:
    return Decimal(duration // timedelta(microseconds=1)) / 1_000_000
