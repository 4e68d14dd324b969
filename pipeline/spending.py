"""What was spent, added up from the ledger, for people, operators and files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from pipeline.costs import simulated_providers
from pipeline.holds import month_around
from pipeline.models import CostRecord

NOTHING = Decimal("0.000000")


class By(StrEnum):
    DAY = "day"
    PROVIDER = "provider"
    USER = "user"
    JOB = "job"
    DAY_PROVIDER = "day_provider"  # the key is the day, the label the provider


@dataclass(frozen=True)
class Row:
    """One line of spending. `key` is a day, a provider, a user name or a job's id; empty for jobs that were deleted."""

    key: str
    label: str
    amount: Decimal  # metered, US dollars, without what is simulated
    simulated: Decimal  # metered where nothing real happens
    invoiced: Decimal | None  # None while no provider has sent a bill
    drift: Decimal | None  # invoiced minus metered, of the machines that have a bill
    seconds: Decimal
    jobs: int


@dataclass(frozen=True)
class Span:
    """Days in UTC, the last one included."""

    first: date
    last: date

    @classmethod
    def this_month(cls, now: datetime | None = None) -> Span:
        start, end = month_around(now or timezone.now())
        return cls(start.date(), (end - timedelta(days=1)).date())

    def records(self) -> QuerySet[CostRecord]:
        """A record counts on the day it ends."""
        return CostRecord.objects.filter(
            period_end__gte=datetime.combine(self.first, time(), UTC),
            period_end__lt=datetime.combine(self.last, time(), UTC) + timedelta(days=1),
        )


_GROUPS: dict[By, tuple[str, ...]] = {
    By.DAY: ("day",),
    By.PROVIDER: ("provider",),
    By.USER: ("owner__username",),
    By.JOB: ("job_id", "job__name"),
    By.DAY_PROVIDER: ("day", "provider"),
}


def spending(span: Span, by: By, owner_id: int | None = None, limit: int | None = None) -> list[Row]:
    """Rows of one person, or of everybody (None), in one query: days in their order, all else dearest first."""
    records = span.records() if owner_id is None else span.records().filter(owner_id=owner_id)
    metered = Q(kind=CostRecord.Kind.METERED)
    simulated = Q(provider__in=simulated_providers())
    grouped = (
        records.annotate(day=TruncDate("period_end", tzinfo=UTC))
        .order_by()
        .values(*_GROUPS[by])
        .annotate(
            metered=Coalesce(Sum("amount", filter=metered & ~simulated), NOTHING),
            simulated=Coalesce(Sum("amount", filter=metered & simulated), NOTHING),
            billed=Sum("amount", filter=metered & Q(attempt__invoiced__isnull=False)),
            invoiced=Sum("amount", filter=~metered),
            machine_seconds=Coalesce(Sum("seconds", filter=metered), Decimal("0.000")),
            job_count=Count("job", distinct=True),
        )
        .order_by(*(_GROUPS[by] if by in (By.DAY, By.DAY_PROVIDER) else ("-metered", "-simulated", *_GROUPS[by])))
    )
    return [_row(by, values) for values in grouped[:limit]]


def total(rows: Sequence[Row]) -> Decimal:
    return sum((row.amount for row in rows), NOTHING)


def simulated_total(rows: Sequence[Row]) -> Decimal:
    return sum((row.simulated for row in rows), NOTHING)


def table(rows: Sequence[Row], by: By) -> Iterator[list[str]]:
    """As the lines of a CSV file; amounts are exact."""
    yield [by.value, "label", "amount_usd", "invoiced_usd", "machine_seconds", "jobs", "simulated_usd", "drift_usd"]
    for row in rows:
        invoiced, drift = ("" if value is None else str(value) for value in (row.invoiced, row.drift))
        yield [
            row.key, row.label, str(row.amount), invoiced, str(row.seconds), str(row.jobs), str(row.simulated), drift,
        ]  # fmt: skip


def _row(by: By, values: dict[str, Any]) -> Row:
    first, *others = (values[name] for name in _GROUPS[by])
    key = "" if first is None else str(first)
    nobody = {By.JOB: "Deleted jobs", By.USER: "Removed people"}.get(by, "Not recorded")
    return Row(
        key,
        str(others[0] if others and others[0] is not None else key) or nobody,
        values["metered"],
        values["simulated"],
        values["invoiced"],
        None if values["invoiced"] is None or values["billed"] is None else values["invoiced"] - values["billed"],
        values["machine_seconds"],
        values["job_count"],
    )
