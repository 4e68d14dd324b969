"""What operators see first: what needs them, and how the installation does, in a bounded number of queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince

from notifications.models import Delivery
from pipeline import overview
from pipeline.config import audit, broker, deliveries
from pipeline.models import AccountLook, Job
from pipeline.services.machines import forgotten
from pipeline.spending import Row
from pipeline.states import JobStatus

DAYS = 30
CHART_HEIGHT = 100
SHOWN_PROBLEMS = 5
# Stages of an active job in which a person must look.
STUCK = {
    "create_unknown": "waiting until an operator says what became of a lost answer",
    "still_billed": "stopping with a machine that is still billed",
    "contact_lost": "without a word from the program",
}


@dataclass(frozen=True)
class Attention:
    """Something that needs a person, with where to go."""

    text: str
    link: str
    urgent: bool = False


@dataclass(frozen=True)
class Bar:
    """One day of the chart, in per cent of the width and of the height."""

    day: date
    amount: Decimal
    x: float
    width: float
    height: float

    @property
    def y(self) -> float:
        return CHART_HEIGHT - self.height


def read(request: HttpRequest) -> dict[str, Any]:
    """The sections this operator may see; a section that is left out is not asked for either."""
    now = timezone.now()
    may = request.user.has_perm
    shown: dict[str, Any] = {"at": now, "attention": []}
    if may("pipeline.view_job"):
        shown |= _jobs(now)
    if may("pipeline.view_machinesighting"):
        shown |= _machines(now)
    if may("pipeline.view_costrecord"):
        shown |= _money(now)
    if may("pipeline.view_processbeat"):
        shown |= _life(now)
    if may("notifications.view_delivery"):
        shown["deliveries"] = [
            (state.label, number, state == Delivery.State.DEAD) for state, number in deliveries.counts().items()
        ]
    if may("pipeline.view_credential"):
        keys = list(overview.troubled_credentials()[: SHOWN_PROBLEMS + 1])
        shown["troubled"], shown["more_troubled"] = keys[:SHOWN_PROBLEMS], len(keys) > SHOWN_PROBLEMS
    if request.user.has_perms(audit.SEES):
        shown["deeds"] = audit.newest(6)
    shown["attention"] = sorted(_attention(shown), key=lambda one: not one.urgent)
    return shown


def _jobs(now: datetime) -> dict[str, Any]:
    queue = overview.queue(now)
    failures = overview.failures(now)
    most = max((one.week for one in failures), default=1)
    stuck = Job.objects.active().filter(current_stage__in=STUCK).order_by()
    return {
        "ages": [*(label for label, _ in overview.AGES), overview.LONGER],
        "queue": [(one, timesince(one.oldest, now, depth=1) if one.oldest else "–") for one in queue],
        "waiting": sum(one.total for one in queue if one.status in (JobStatus.QUEUED, JobStatus.INITIALIZING)),
        "running": next(one.total for one in queue if one.status is JobStatus.RUNNING),
        "failures": [(one, 100 * one.week / most, 100 * one.day / most) for one in failures],
        "failed_today": sum(one.day for one in failures),
        "stuck": dict(stuck.values_list("current_stage").annotate(number=Count("pk"))),
    }


def _machines(now: datetime) -> dict[str, Any]:
    rented = overview.rented()
    return {
        "rented": rented,
        "machines": sum(one.machines + one.forgotten for one in rented),
        "hourly": sum((one.price_per_hour for one in rented if not one.simulated), Decimal(0)),
        "forgotten": forgotten(now),
        "held_back": AccountLook.objects.exclude(held_back="").count(),
        "blind": AccountLook.objects.exclude(problem="").count(),
    }


def _money(now: datetime) -> dict[str, Any]:
    rows = overview.spent_by_day(now, max(DAYS, now.day))
    by_day = {row.key: row.amount for row in rows}
    month = [amount for key, amount in by_day.items() if key.startswith(f"{now:%Y-%m}")]
    return {
        "today": by_day.get(str(now.date()), Decimal(0)),
        "month": sum(month, Decimal(0)),
        "bars": bars(now.date(), rows),
    }


def bars(today: date, rows: list[Row]) -> list[Bar]:
    """A bar for each of the last days, those without spending too."""
    by_day = {row.key: row.amount for row in rows}
    days = [today - timedelta(days=ago) for ago in reversed(range(DAYS))]
    most = max((by_day.get(str(day), Decimal(0)) for day in days), default=Decimal(0))
    step = 100 / DAYS
    return [
        Bar(day, amount, number * step, step * 0.7, float(CHART_HEIGHT * amount / most) if most else 0.0)
        for number, day in enumerate(days)
        for amount in [by_day.get(str(day), Decimal(0))]
    ]


def _life(now: datetime) -> dict[str, Any]:
    return {"lives": overview.lives(now), "broker": broker.answers()}


def _attention(shown: dict[str, Any]) -> Iterator[Attention]:
    board = reverse("admin:pipeline_machinesighting_changelist")
    for life in shown.get("lives", ()):
        if not life.alive and life.meaning:
            word = "has shown no sign of life yet" if life.at is None else "is silent"
            yield Attention(
                f"{life.name.capitalize()} {word}. {life.meaning}", reverse("admin:pipeline_processbeat_changelist")
            )
    if shown.get("broker") is False:
        yield Attention("Redis does not answer. Nothing is lost; pages and wake-ups are slower.", "")
    if (lost := shown.get("forgotten")) and lost.still_there:
        yield Attention(f"{_count(lost.still_there, 'forgotten machine')} still there, and billed.", board, urgent=True)
    if number := shown.get("held_back"):
        yield Attention(
            f"{_count(number, 'account')}: too much looks forgotten at once, a person must check.", board, True
        )
    if number := shown.get("blind"):
        yield Attention(f"The last look at {_count(number, 'account')} did not work.", board)
    for stage, number in shown.get("stuck", {}).items():
        link = reverse("admin:pipeline_job_changelist") + f"?current_stage={stage}"
        yield Attention(f"{_count(number, 'job')} {STUCK[stage]}.", link, urgent=stage != "contact_lost")
    for _, number, dead in shown.get("deliveries", ()):
        if dead and number:
            link = reverse("admin:notifications_delivery_changelist") + "?state__exact=dead"
            words = "delivery was" if number == 1 else "deliveries were"
            yield Attention(f"{number:,} {words} given up and can be sent again.", link)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
