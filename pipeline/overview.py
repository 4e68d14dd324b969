"""What goes on in the whole installation, in a handful of queries: for the operators' dashboard and for Prometheus."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Case, Count, DateTimeField, F, Min, Q, QuerySet, Sum, When
from django.db.models.functions import Coalesce

from pipeline.costs import simulated_providers
from pipeline.models import Attempt, Credential, Job, MachineSighting, ProcessBeat, ProviderCall
from pipeline.spending import By, Row, Span, spending
from pipeline.states import ACTIVE, ATTEMPT_CLOSED, EndReason, JobStatus

# How long something waits before it is in the next column.
AGES: tuple[tuple[str, timedelta], ...] = (
    ("< 1 min", timedelta(minutes=1)),
    ("1–10 min", timedelta(minutes=10)),
    ("10–60 min", timedelta(hours=1)),
)
LONGER = "> 1 h"
SILENT = timedelta(seconds=60)
# What shows its life, and what its silence means.
PROCESSES = {
    "beat": "Beat, broker and worker: nothing is woken on time. Reconcile does the work meanwhile.",
    "reconcile": "Reconcile: without it, a day without Redis would be a day without background work.",
}
NEWEST_CALLS = 50_000


@dataclass(frozen=True)
class Waiting:
    """The active jobs of one status, by how long they have been in it."""

    status: JobStatus
    counts: tuple[int, ...]  # one for each of AGES, and one for LONGER
    oldest: datetime | None

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Rented:
    """What runs at one provider now."""

    provider: str
    machines: int  # of jobs
    forgotten: int
    price_per_hour: Decimal
    simulated: bool  # its prices are invented


@dataclass(frozen=True)
class Failures:
    reason: EndReason
    day: int
    week: int


@dataclass(frozen=True)
class Life:
    """The last sign of life of a background part."""

    name: str
    at: datetime | None
    alive: bool
    meaning: str


def job_counts() -> dict[JobStatus, int]:
    found = dict(Job.objects.order_by().values_list("status").annotate(number=Count("pk")))
    return {status: found.get(status.value, 0) for status in JobStatus}


def queue(now: datetime) -> list[Waiting]:
    """The active statuses, those that jobs pass first, first."""
    since = Case(
        When(status=JobStatus.RUNNING, then=F("started_at")),
        When(status=JobStatus.CANCELLING, then=F("stop_requested_at")),
        default=F("queued_at"),
        output_field=DateTimeField(),
    )
    bounds = [now - age for _, age in AGES]
    ages = {f"age{number}": Count("pk", filter=_between(number, bounds)) for number in range(len(AGES) + 1)}
    counted = (
        Job.objects.active()
        .order_by()
        .annotate(waits_since=Coalesce(since, "created_at"))
        .values("status")
        .annotate(oldest=Min("waits_since"), **ages)
    )
    rows: dict[str, dict[str, Any]] = {row["status"]: dict(row) for row in counted}
    nothing: dict[str, Any] = dict.fromkeys(ages, 0) | {"oldest": None}
    return [
        Waiting(status, tuple(row[name] for name in ages), row["oldest"])
        for status in JobStatus
        if status in ACTIVE
        for row in [rows.get(status.value, nothing)]
    ]


def _between(number: int, bounds: list[datetime]) -> Q:
    younger = Q(waits_since__lte=bounds[number - 1]) if number else Q()
    return younger & Q(waits_since__gt=bounds[number]) if number < len(bounds) else younger


def rented() -> list[Rented]:
    """What runs now, the dearest provider first. A machine that nobody waits for counts with its price, too."""
    simulated = simulated_providers()
    machines: defaultdict[str, int] = defaultdict(int)
    forgotten: defaultdict[str, int] = defaultdict(int)
    price: defaultdict[str, Decimal] = defaultdict(Decimal)
    open_ones = Attempt.objects.exclude(state__in=[state.value for state in ATTEMPT_CLOSED]).order_by()
    for provider, number, hourly in open_ones.values_list("provider").annotate(Count("pk"), Sum("price_per_hour")):
        machines[provider] += number
        price[provider] += hourly or Decimal(0)
    # Two people may have keys of one account: its machines are seen twice, but are there once.
    orphans = MachineSighting.objects.filter(gone_at=None, verdict=MachineSighting.Verdict.ORPHAN).order_by()
    for provider, _, hourly in orphans.values_list("provider", "external_id", "price_per_hour").distinct():
        forgotten[provider] += 1
        price[provider] += hourly or Decimal(0)
    return sorted(
        (
            Rented(name, machines[name], forgotten[name], price[name], name in simulated)
            for name in machines.keys() | forgotten.keys()
        ),
        key=lambda one: (-one.price_per_hour, one.provider),
    )


def failures(now: datetime) -> list[Failures]:
    """Why jobs failed in the last week, the most frequent reason first."""
    day = Q(completed_at__gt=now - timedelta(days=1))
    rows = (
        Job.objects.filter(status=JobStatus.FAILED, completed_at__gt=now - timedelta(days=7))
        .order_by()
        .values_list("reason")
        .annotate(day=Count("pk", filter=day), week=Count("pk"))
        .order_by("-week", "reason")
    )
    return [Failures(EndReason(reason), day, week) for reason, day, week in rows]


def spent_by_day(now: datetime, days: int) -> list[Row]:
    """One row for each of the last `days` with any spending, today last."""
    today = now.date()
    return spending(Span(today - timedelta(days=days - 1), today), By.DAY)


def lives(now: datetime) -> list[Life]:
    seen = dict(ProcessBeat.objects.values_list("name", "at"))
    known = [(name, seen.pop(name, None), meaning) for name, meaning in PROCESSES.items()]
    others = [(name, at, "") for name, at in sorted(seen.items())]
    return [Life(name, at, at is not None and now - at < SILENT, meaning) for name, at, meaning in [*known, *others]]


def troubled_credentials() -> QuerySet[Credential]:
    """Accounts whose keys do not work now, the one that changed last first."""
    return Credential.objects.exclude(problem="").select_related("owner").order_by("-updated_at")


def calls_last_hour(now: datetime) -> dict[tuple[str, str], int]:
    """Calls that may have changed something outside, by what was asked and what came of it."""
    # Ids grow with time: only the newest are looked through, however long the history is.
    newest = ProviderCall.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    rows = (
        ProviderCall.objects.filter(pk__gt=newest - NEWEST_CALLS, started_at__gt=now - timedelta(hours=1))
        .order_by()
        .values_list("op", "outcome")
        .annotate(number=Count("pk"))
    )
    return {(op, outcome): number for op, outcome, number in rows}


def rows_written() -> dict[str, int]:
    """How many metric points and log lines were ever written, as PostgreSQL itself counts them."""
    tables = {"pipeline_metricpoint": "points", "pipeline_logline": "lines"}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, n_tup_ins + n_tup_upd FROM pg_stat_user_tables "
            "WHERE relname = ANY(%s) AND schemaname = current_schema()",
            [list(tables)],
        )
        found = {tables[name]: int(number) for name, number in cursor.fetchall()}
    return {name: found.get(name, 0) for name in tables.values()}
