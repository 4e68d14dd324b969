"""What of a live job deserves a sentence at the top of its page: its machine, its account, its money.

Each note says what is the case, what is done about it, and who has to act. A job in good order has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count, Max
from django.utils import timezone

from pipeline.budgets import level_of
from pipeline.costs import unmetered
from pipeline.holds import month_around
from pipeline.models import Attempt, Budget, CallOutcome, Credential, EventType, Job, ProviderCall
from pipeline.services.facts import open_attempt
from pipeline.states import CONSEQUENCES, AttemptState, EndReason, JobStatus
from pipeline.texts import is_simulated, usd

# A stop that works is over by then, and no news.
SOON = timedelta(seconds=15)


@dataclass(frozen=True)
class Note:
    kind: str
    level: str  # info | warning | error
    title: str
    text: str
    until: datetime | None = None  # when it goes on
    action: str = ""  # what a person can do from here: "limits", "settings" or "logs"


def situation(job: Job, now: datetime | None = None) -> list[Note]:
    """The notes of a job, gravest first; none of one that is saved or has ended. A handful of queries."""
    if not job.is_active:
        return []
    now = now or timezone.now()
    attempt = open_attempt(job)
    notes = [*_account(job, attempt), *_machine(job, attempt, now), *_waiting(job), *_money(job, attempt, now)]
    return sorted(notes, key=lambda note: ("error", "warning", "info").index(note.level))


def _account(job: Job, attempt: Attempt | None) -> Iterator[Note]:
    """The account its machine is in, or will be rented in."""
    if attempt is not None:
        credential = Credential.objects.filter(pk=attempt.credential_id).first() if attempt.credential_id else None
    else:
        credential = Credential.objects.filter(owner=job.owner_id, provider=job.provider).first()
    if credential is None or not credential.problem:
        return
    text = (
        "Nothing is concluded about the machine meanwhile; it is looked at again and again."
        if attempt is not None
        else "No machine can be asked for until that is mended."
    )
    yield Note("account", "error", "The account at the provider does not work", f"{credential.problem} {text}",
               action="settings")  # fmt: skip


def _machine(job: Job, attempt: Attempt | None, now: datetime) -> Iterator[Note]:
    if attempt is None:
        return
    if attempt.state == AttemptState.INTENT:
        yield from _asked_for(job, attempt)
    elif attempt.stop_sent_at is not None:
        yield from _stopping(job, attempt, now)
    elif job.current_stage == "contact_lost":
        yield Note(
            "contact_lost", "warning", "No word from the machine",
            "It is there and billed, but the training program has not called for five minutes. If it stays silent, "
            "the machine is stopped and the job goes on at its last checkpoint.", action="logs",
        )  # fmt: skip


def _asked_for(job: Job, attempt: Attempt) -> Iterator[Note]:
    if job.current_stage == "create_unknown":
        yield Note(
            "create_unknown", "error", "Unclear whether a machine exists: an operator must settle it",
            "The answer to the request was lost, and this provider cannot be searched. An operator must say in the "
            f"admin what became of {attempt.name}. Nothing is asked for twice meanwhile, and the job is not over.",
        )  # fmt: skip
    elif ProviderCall.objects.filter(attempt=attempt, op="create", outcome=CallOutcome.UNKNOWN).exists():
        yield Note(
            "create_unknown", "warning", "Unclear whether a machine exists",
            "The answer to the request was lost or not understood. The machine is looked for by its name; nothing is "
            "asked for twice.",
        )  # fmt: skip
    elif job.current_stage == "submitting" and job.stage_detail:
        yield Note(
            "not_reached", "warning", "The provider cannot be reached",
            f"{job.stage_detail} Nothing was asked for yet, so nothing is billed.", until=job.next_check_at,
        )  # fmt: skip


def _stopping(job: Job, attempt: Attempt, now: datetime) -> Iterator[Note]:
    assert attempt.stop_sent_at is not None
    stubborn = job.current_stage == "still_billed" or attempt.stop_alerted_at is not None
    if now - attempt.stop_sent_at < SOON and not stubborn:
        return
    orders = ProviderCall.objects.filter(attempt=attempt, op="stop")
    made = orders.aggregate(times=Count("pk"), last=Max("pk"))
    last = orders.filter(pk=made["last"]).first()
    billed = " and billed" if attempt.price_per_hour > 0 else ""
    text = f"Its end was ordered {_times(made['times'])}"
    if last is not None:
        text += f"; last answer: {_answer(last)}"
    text = f"{text.rstrip('.')}. The order is repeated until it is gone."
    if stubborn:
        text += f" Machine: {attempt.external_id or attempt.name}."
    title = f"Stopping: the machine is still there{billed}"
    yield Note("stopping", "error" if stubborn else "warning", title, text)


def _answer(call: ProviderCall) -> str:
    if call.outcome == CallOutcome.OK:
        return "accepted"
    return call.detail[:200] or call.get_outcome_display().lower()


def _waiting(job: Job) -> Iterator[Note]:
    if job.status != JobStatus.QUEUED or job.current_stage != "waiting_to_retry":
        return
    moved = job.events.filter(kind=EventType.STATUS).order_by("-seq").first()
    cause = moved.data.get("cause", "") if moved else ""
    text = CONSEQUENCES[EndReason(cause)].text if cause in EndReason.values else ""
    ended = job.attempts.order_by("-n").values_list("n", flat=True).first() or 0
    title = f"Waiting to try again: attempt {ended + 1} of at most {max(job.max_attempts, ended + 1)}"
    yield Note("waiting", "info", title, text or "The last attempt ended early.", until=job.next_check_at)


def _money(job: Job, attempt: Attempt | None, now: datetime) -> Iterator[Note]:
    if job.status == JobStatus.CANCELLING:
        return
    if job.cost_limit:
        cost = job.current_cost + (unmetered(attempt, now) if attempt is not None else Decimal(0))
        level = level_of(cost, job.cost_limit)
        what = "the budget" if job.budget_limit is not None else "what this job may cost"
        if level:
            yield _limit_note("budget", level, f"of {what}", cost, job.cost_limit, action="limits")
    if not is_simulated(job.provider):
        told = Budget.objects.filter(pk=job.owner_id, told_month=month_around(now)[0].date(), told__gte=80).first()
        if told is not None and told.monthly_limit is not None:
            yield Note(
                "month", "warning", f"{told.told} % of this month's limit is used",
                f"The limit is {usd(told.monthly_limit)}. At 100 % jobs that cost money save a checkpoint and stop.",
            )  # fmt: skip


def _limit_note(kind: str, level: int, of: str, spent: Decimal, limit: Decimal, *, action: str) -> Note:
    used = f"{usd(spent)} of {usd(limit)}"
    if level == 100:
        return Note(kind, "error", f"100 % {of} is used", f"{used}. The job saves a checkpoint and stops.")
    text = f"{used}. At 100 % the job saves a checkpoint and stops; a higher limit lets it go on."
    return Note(kind, "warning", f"{level} % {of} is used", text, action=action)


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")
