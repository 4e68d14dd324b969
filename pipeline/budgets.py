"""Limits of money that are watched while jobs run: told at 80 and 90 per cent, stopped at 100.

Everything here reads our own rows and the clock only, so it works while a provider does not answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from pipeline import holds
from pipeline.costs import LIVE_JOBS, projection, simulated_providers
from pipeline.models import Budget, EventType, Job
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.services.jobs import MAX_DURATION, request_checkpoint, request_stop
from pipeline.states import EndReason, JobStatus
from pipeline.texts import usd
from pipeline.transitions import record_event

logger = logging.getLogger(__name__)

LEVELS = (100, 90, 80)  # per cent of a limit
SAVE_AT = 90  # from here on the newest state is worth a checkpoint

_WATCHED = f"""
    SELECT id, owner_id, status, budget_limit, cost_limit, budget_told, eta_seconds, per_hour, cost
    FROM ({LIVE_JOBS}) live
    WHERE status <> 'cancelling'"""  # noqa: S608 - constants
_PASSED = f"""{_WATCHED} AND cost_limit IS NOT NULL AND cost >= cost_limit * 0.8
    AND (cost >= cost_limit OR budget_told < CASE WHEN cost >= cost_limit * 0.9 THEN 90 ELSE 80 END)"""
_OF_JOB = f"{_WATCHED} AND id = %(job)s"
_OF_OWNER = f"""{_WATCHED} AND owner_id = %(owner)s AND per_hour > 0 AND NOT provider = ANY(%(simulated)s)
    ORDER BY per_hour DESC, id"""


@dataclass(frozen=True)
class _Live:
    id: UUID
    owner_id: int
    status: str
    budget_limit: Decimal | None
    cost_limit: Decimal | None
    budget_told: int
    eta_seconds: float | None
    per_hour: Decimal
    cost: Decimal


def level_of(spent: Decimal, limit: Decimal) -> int:
    """The highest level that is reached, 0 below all of them."""
    return next((level for level in LEVELS if spent * 100 >= limit * level), 0)


def enforce_due(now: datetime | None = None) -> int:
    """Look at every live job's limit and every limited month; return for how many something was told or done.

    Each level is told once. A stop is ordered again as long as a job passes its limit and does not stop, so that a
    process that dies between the two costs one round.
    """
    now = now or timezone.now()
    done = 0
    for live in _live(_PASSED, now):
        assert live.cost_limit is not None
        done += _apart(live.id, lambda live=live: _job_passed(live))
    return done + _watch_months(now)


def _job_passed(live: _Live) -> bool:
    assert live.cost_limit is not None
    level = level_of(live.cost, live.cost_limit)
    data: dict[str, Any] = {"scope": "job", "percent": level, "spent": str(live.cost), "limit": str(live.cost_limit)}
    pace = projection(live.cost, live.eta_seconds, live.per_hour)
    if pace is not None:
        data["projected"] = str(pace)
    what = "the budget" if live.budget_limit is not None else "what this job may cost"
    used = f"{usd(live.cost)} of {usd(live.cost_limit)}"
    ahead = f" At this pace it will have cost {usd(pace)} at its end." if pace is not None and level < 100 else ""
    message = (
        f"{what.capitalize()} is used up: {used}. The job saves a checkpoint and stops."
        if level == 100
        else f"{level} % of {what} is used: {used}.{ahead}"
    )
    with transaction.atomic():
        # A limit that was changed since the look is looked at again in the next round.
        current = Job.objects.active().filter(pk=live.id, cost_limit=live.cost_limit)
        told = current.filter(budget_told__lt=level).update(budget_told=level)
        if told:
            record_event(live.id, EventType.BUDGET, message, level=_loudness(level), data=data)
        stopped = level == 100 and current.exists() and _stop(live.id, "Stopping at the budget.")
    if told and level == SAVE_AT:
        _save(live)
    return bool(told or stopped)


def _watch_months(now: datetime) -> int:
    start = holds.month_around(now)[0].date()
    limited = Budget.objects.filter(
        monthly_limit__isnull=False, owner__jobs__in=Job.objects.active().exclude(status=JobStatus.CANCELLING)
    ).distinct()
    budgets = {budget.pk: budget for budget in limited}
    if not budgets:
        return 0
    done = 0
    for owner_id, month in holds.months({pk: one.monthly_limit for pk, one in budgets.items()}, now).items():
        assert month.limit is not None
        level = level_of(month.spent, month.limit)
        budget = budgets[owner_id]
        known = budget.told if budget.told_month == start else 0
        if level == 100 or level > known:
            jobs = _live(_OF_OWNER, now, owner=owner_id, simulated=simulated_providers())
            done += bool(jobs) and _apart(owner_id, lambda jobs=jobs, month=month: _month_passed(jobs, month))
    return done


def _month_passed(jobs: list[_Live], month: holds.Month) -> bool:
    """Told on the job that costs the most an hour. At 100 every job that costs anything is stopped."""
    assert month.limit is not None
    level, first, start = level_of(month.spent, month.limit), jobs[0], month.start.date()
    used = f"{usd(month.spent)} of {usd(month.limit)}"
    message = (
        f"This month's limit is used up: {used}. Jobs that cost money save a checkpoint and stop."
        if level == 100
        else f"{level} % of this month's limit is used: {used}."
    )
    data = {
        "scope": "month", "percent": level, "spent": str(month.spent), "limit": str(month.limit),
        "projected": str(month.projected),
    }  # fmt: skip
    with transaction.atomic():
        told = (
            Budget.objects.filter(pk=first.owner_id, monthly_limit=month.limit)
            .filter(~Q(told_month=start) | Q(told_month=None) | Q(told__lt=level))
            .update(told_month=start, told=level)
        )
        if told:
            record_event(first.id, EventType.BUDGET, message, level=_loudness(level), data=data)
    stopped = [_stop(job.id, "Stopping at this month's limit.") for job in jobs] if level == 100 else []
    if told and level == SAVE_AT:
        for job in jobs:
            _save(job)
    return bool(told) or any(stopped)


class Limits(TypedDict, total=False):
    """What may be changed of a live job; what is left out stays."""

    budget_limit: Decimal | None
    max_duration: int


def change_budget(job_id: UUID, changes: Limits, *, actor: str = "") -> None:
    """Give a job other limits, under the lock that admits jobs; its alerts are armed again.

    Raise InvalidInput for a value that cannot be, Conflict when the month leaves too little or the job is ending.
    """
    _check(changes)
    with transaction.atomic():
        budget = holds.locked_budget(Job.objects.values_list("owner_id", flat=True).get(pk=job_id))
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        budget_limit = changes.get("budget_limit", job.budget_limit)
        max_duration = changes.get("max_duration", job.max_duration)
        if job.has_ended or job.status == JobStatus.CANCELLING:
            raise Conflict("This job has ended or is stopping, so its limits change nothing more.", code="not_live")
        fields: dict[str, Any] = {"budget_limit": budget_limit, "max_duration": max_duration}
        if job.is_active:
            fields |= {"cost_limit": _new_limit(job, budget, budget_limit, max_duration), "budget_told": 0}
        money = f"a budget of {usd(budget_limit)}" if budget_limit is not None else "no budget"
        message = f"New limits: {money}, at most {max_duration / 3600:.3g} h."
        data = {
            "scope": "job", "what": "changed", "limit": None if budget_limit is None else str(budget_limit),
            "max_duration": max_duration,
        }  # fmt: skip
        record_event(job_id, EventType.BUDGET, message, data=data, actor=actor)
        Job.objects.filter(pk=job_id).update(**fields)


def _check(changes: Limits) -> None:
    errors = []
    budget, duration = changes.get("budget_limit"), changes.get("max_duration")
    if budget is not None and budget <= 0:
        errors.append(FieldError("budget_limit", "A budget is more than 0 US dollars; leave it empty for none."))
    if duration is not None and not 60 <= duration <= MAX_DURATION.total_seconds():
        errors.append(FieldError("max_duration", "The maximum duration is between 60 seconds and 14 days."))
    if errors:
        raise InvalidInput(errors)


def _new_limit(job: Job, budget: Budget, budget_limit: Decimal | None, max_duration: int) -> Decimal | None:
    now = timezone.now()
    (live,) = _live(_OF_JOB, now, job=job.pk)
    if budget_limit is not None and budget_limit <= live.cost:
        sentence = f"This job has already cost {usd(live.cost)}. Choose a higher budget, or cancel the job."
        raise InvalidInput([FieldError("budget_limit", sentence, "already_spent")])
    if budget_limit is not None and job.cost_limit is not None and budget_limit <= job.cost_limit:
        return budget_limit  # it holds less than before, which is welcome in any month
    month = holds.months({job.owner_id: budget.monthly_limit}, now, without=job.pk)[job.owner_id]
    price = holds.charged(live.per_hour, job.provider)
    return holds.limit_for(price, max_duration, budget_limit, None, month, cost=live.cost)


def set_monthly_limit(owner: User, limit: Decimal | None, *, even_if_spent: bool = False) -> Budget:
    """Limit what the owner's jobs may cost in a calendar month; None takes the limit away. Alerts are armed again.

    Raise Conflict for a limit that would stop live jobs at once, unless that is meant (`even_if_spent`).
    """
    if limit is not None and not 0 <= limit < Decimal(10) ** 10:
        raise InvalidInput([FieldError("monthly_limit", "A monthly limit is 0 US dollars or more; null for none.")])
    with transaction.atomic():
        budget = holds.locked_budget(owner.pk)
        month = holds.months({owner.pk: limit})[owner.pk]
        if limit is not None and not even_if_spent and month.spent >= limit and month.held > 0:
            raise Conflict(
                f"{usd(month.spent)} are spent in this month already, so a limit of {usd(limit)} would stop your live "
                "jobs at once. Cancel them first, or choose a higher limit.",
                code="already_spent",
            )
        budget.monthly_limit, budget.told_month, budget.told = limit, None, 0
        budget.save(update_fields=["monthly_limit", "told_month", "told", "updated_at"])
    return budget


def _live(query: str, now: datetime, **parameters: Any) -> list[_Live]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"now": now} | parameters)
        return [_Live(*row) for row in cursor.fetchall()]


def _stop(job_id: UUID, message: str) -> bool:
    try:
        return request_stop(job_id, EndReason.BUDGET_EXCEEDED, message)
    except Conflict as conflict:
        logger.info("job %s needs no stop: %s", job_id, conflict)
        return False


def _save(live: _Live) -> None:
    if live.status == JobStatus.RUNNING:
        try:
            request_checkpoint(live.id, message="A checkpoint was asked for, because the money is nearly used up.")
        except Conflict as conflict:
            logger.info("job %s saves nothing: %s", live.id, conflict)


def _loudness(level: int) -> str:
    return "error" if level == 100 else "warning"


def _apart(what: object, look_after: Any) -> int:
    """One that cannot be looked after does not hold up the others; the next round tries again."""
    try:
        return int(look_after())
    except Exception:
        logger.exception("the budget of %s could not be looked after", what)
        return 0
