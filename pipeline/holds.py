"""What a person's month leaves, and what a job may cost of it. Nobody's jobs are promised the same dollar twice.

A job that starts holds the most it may cost (`Job.cost_limit`) against its owner's month. The hold is nowhere else:
what is held is the sum, over the live jobs, of what each may still cost, so it ends by itself when the job ends. Jobs
are admitted one at a time, under the lock of their owner's `Budget` row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

from django.db import connection
from django.utils import timezone

from pipeline.costs import LIVE_JOBS, STARTING_SECONDS, simulated_providers
from pipeline.models import Budget, Job
from pipeline.services.errors import Conflict
from pipeline.texts import usd

LEAST_RUN = 300  # seconds: with less money than this takes, a machine is not worth starting
_CENT = Decimal("0.01")
_MICRO = Decimal("0.000001")

_MONTHS = f"""
    WITH live AS ({LIVE_JOBS})
    SELECT person.id, COALESCE(ledger.amount, 0) + COALESCE(ahead.unmetered, 0), COALESCE(ahead.held, 0),
        COALESCE(ahead.to_come, 0)
    FROM unnest(%(owners)s::bigint[]) AS person (id)
    LEFT JOIN LATERAL (
        SELECT SUM(amount) AS amount FROM pipeline_costrecord
        WHERE owner_id = person.id AND kind = 'metered' AND period_end >= %(start)s AND period_end < %(end)s
            AND NOT provider = ANY(%(simulated)s)
    ) ledger ON TRUE
    LEFT JOIN LATERAL (
        SELECT SUM(unmetered) AS unmetered,
            SUM(GREATEST(most - cost, 0)) FILTER (WHERE id IS DISTINCT FROM %(without)s::uuid) AS held,
            SUM(GREATEST(LEAST(
                COALESCE(per_hour * eta_seconds::numeric / 3600, estimated_cost - cost, 0), most - cost), 0)) AS to_come
        FROM live WHERE owner_id = person.id AND NOT provider = ANY(%(simulated)s)
    ) ahead ON TRUE"""  # noqa: S608 - constants


@dataclass(frozen=True)
class Month:
    """A person's calendar month in UTC, in US dollars."""

    start: datetime
    limit: Decimal | None
    spent: Decimal  # metered in this month, and what has run up since
    held: Decimal  # what live jobs may still cost
    to_come: Decimal  # what live jobs will still cost at their pace, or as was estimated

    @property
    def left(self) -> Decimal | None:
        """What a further job may cost; None: nothing limits it. Less than 0 after the limit was lowered."""
        return None if self.limit is None else self.limit - self.spent - self.held

    @property
    def projected(self) -> Decimal:
        return self.spent + self.to_come

    def sentence(self) -> str:
        assert self.limit is not None
        return f"{usd(self.spent)} of {usd(self.limit)} are spent and {usd(self.held)} are held for live jobs"


def month_of(owner_id: int, now: datetime | None = None, *, without: UUID | None = None) -> Month:
    """`without` leaves out what this job holds."""
    limit = Budget.objects.filter(pk=owner_id).values_list("monthly_limit", flat=True).first()
    return months({owner_id: limit}, now, without=without)[owner_id]


def months(
    limits: dict[int, Decimal | None], now: datetime | None = None, *, without: UUID | None = None
) -> dict[int, Month]:
    """The month of many people, known by their ids with their limits, in one query."""
    now = now or timezone.now()
    start, end = month_around(now)
    with connection.cursor() as cursor:
        cursor.execute(
            _MONTHS,
            {
                "now": now, "owners": list(limits), "start": start, "end": end, "without": without,
                "simulated": simulated_providers(),
            },
        )  # fmt: skip
        rows = cursor.fetchall()
    return {
        owner: Month(start, limits[owner], spent, held.quantize(_MICRO), to_come.quantize(_MICRO))
        for owner, spent, held, to_come in rows
    }


def month_around(now: datetime) -> tuple[datetime, datetime]:
    """When the calendar month (UTC) of this moment begins, and when the next one does."""
    start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return start, start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)


def locked_budget(owner_id: int) -> Budget:
    """The owner's budget, made when there was none, locked until the transaction ends. Take it before a job's row."""
    Budget.objects.bulk_create([Budget(owner_id=owner_id)], ignore_conflicts=True)
    return Budget.objects.select_for_update().get(pk=owner_id)


def admit(job: Job, budget: Budget) -> Decimal | None:
    """What the job may cost in all; None: nothing limits it. Call with `budget` locked until the job is live.

    Raise Conflict when the month does not leave as much.
    """
    month = months({job.owner_id: budget.monthly_limit})[job.owner_id]
    price = charged(job.price_per_hour, job.provider)
    return limit_for(price, job.max_duration, job.budget_limit, job.estimated_cost, month)


def charged(price_per_hour: Decimal, provider: str) -> Decimal:
    """What of a price a month feels: all of it, and nothing where the machine is simulated."""
    return Decimal(0) if provider in simulated_providers() else price_per_hour


def limit_for(
    price: Decimal,
    max_seconds: int,
    budget: Decimal | None,
    estimate: Decimal | None,
    month: Month,
    *,
    cost: Decimal = Decimal(0),
) -> Decimal | None:
    """What a job may cost in all, of which it has cost `cost` already. Raise Conflict when the month leaves too little.

    Its budget where it has one; else, in a limited month, the price of its longest duration (and of starting), or what
    the month leaves.
    """
    left = month.left
    if price <= 0 or left is None:
        return budget
    if budget is not None:
        if budget - cost > left:
            raise _too_much(f"This job may cost {usd(budget)}", left + cost, month)
        return budget
    least = _hours(LEAST_RUN) * price
    if estimate is not None and estimate - cost > left:
        raise _too_much(f"This job will probably cost {usd(estimate)}", left + cost, month)
    if left < least:
        raise _too_much(f"Five minutes of this machine cost {usd(least)}", left + cost, month)
    return min(cost + left, _hours(max_seconds + STARTING_SECONDS) * price).quantize(_MICRO, ROUND_DOWN)


def _too_much(what: str, left: Decimal, month: Month) -> Conflict:
    affordable = left.quantize(_CENT, ROUND_DOWN)
    smaller = f"Give it a budget of at most {usd(affordable)}, raise" if affordable > 0 else "Raise"
    return Conflict(
        f"{what}, but this month leaves {usd(max(left, Decimal(0)))}: {month.sentence()}. "
        f"{smaller} the monthly limit, or wait until a live job has ended.",
        code="over_monthly_limit",
    )


def _hours(seconds: int) -> Decimal:
    return Decimal(seconds) / 3600
