"""Polling: one look at all live machines of a provider, then `pipeline.decide` says what follows for each job."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce, Now

from pipeline import accounts, clock, ingest, wake
from pipeline.costs import METER_EVERY, meter, meter_many
from pipeline.decide import Decision, Look, Traits, decide
from pipeline.leases import (
    AFTER_MISTAKE,
    LeaseLost,
    claim,
    claim_due,
    fenced,
    looking_after,
    release,
    release_all,
)
from pipeline.models import Attempt, EventType, Job, ProviderCall
from pipeline.models.jobs import Desired
from pipeline.providers.base import AuthError, Machine, MachineRef, MachineState, Provider, ProviderError
from pipeline.providers.registry import UnknownProvider, provider_class
from pipeline.services import stopping, submission
from pipeline.services.ending import close_attempt, end_job, which_limit
from pipeline.services.errors import Conflict
from pipeline.services.facts import made_calls, traits_of, view_of
from pipeline.services.jobs import request_stop
from pipeline.states import ATTEMPT_CLOSED, CONSEQUENCES, AttemptState, EndReason, JobStatus
from pipeline.transitions import record_event, set_stage
from training.contract import Outcome

logger = logging.getLogger(__name__)

SOON = timedelta(seconds=0.2)  # a wake-up may come a little before its time
# An account whose next look comes sooner is woken by a message, one for all its jobs; beat is early enough for others.
PROMPT_SECONDS = 5.0
_OBSERVED = (JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING)
# Columns of a job that a look does not need and that may be long.
_NOT_NEEDED = ("hyperparameters", "current_metrics", "plan", "error_message", "error_stack", "gpu_fallbacks")


def poll_due(overdue: timedelta = timedelta(0)) -> int:
    """Look after every live job that is due, with one look per account. Return how many were looked at."""
    due = Job.objects.filter(status__in=_OBSERVED, next_check_at__lte=Now() - overdue)
    machines = Attempt.objects.exclude(state__in=[s.value for s in ATTEMPT_CLOSED]).filter(job__in=due)
    looked_at = 0
    for account in machines.order_by().values_list("provider", "credential_id").distinct():
        looked_at += _observe_due(account, -overdue)
    without = claim_due(settings.STOKER_POLLS_PER_CYCLE, *_OBSERVED, within=-overdue)
    _observe(without)
    return looked_at + len(without)


def _observe_due(account: tuple[str, UUID | None], within: timedelta) -> int:
    leases = claim_due(settings.STOKER_POLLS_PER_CYCLE, *_OBSERVED, within=within, account=account)
    _observe(leases)
    return len(leases)


def poll(job_id: UUID) -> None:
    """Look after one job if it is due, and with the same look after every other due job in its account.

    Safe to call twice, late, or never.
    """
    last = Attempt.objects.filter(job_id=job_id).order_by("-n").values_list("provider", "credential_id").first()
    if last is not None:
        _observe_due(last, SOON)


def resync(job_ids: Iterable[UUID]) -> set[UUID]:
    """Look at these jobs now, due or not, with one look per account. Return the ids of those that were looked at.

    Left out are jobs without a machine, and those somebody is looking after at this moment.
    """
    leases = {job_id: lease for job_id in job_ids if (lease := claim(job_id, *_OBSERVED))}
    _observe(leases)
    return set(leases)


def _observe(leases: dict[UUID, UUID]) -> None:
    open_attempts: Iterable[Attempt] = (
        Attempt.objects.filter(job_id__in=leases)
        .exclude(state__in=[s.value for s in ATTEMPT_CLOSED])
        .annotate(create_called=Exists(made_calls(ProviderCall.objects.filter(attempt=OuterRef("pk")))))
        .select_related("job", "credential")
        .defer("error_message", "error_stack", *(f"job__{name}" for name in _NOT_NEEDED))
    )
    by_account: defaultdict[tuple[str, UUID | None], list[Attempt]] = defaultdict(list)
    for attempt in open_attempts:
        by_account[attempt.provider, attempt.credential_id].append(attempt)
    for (name, _), attempts in by_account.items():
        try:
            provider = accounts.provider_with(name, attempts[0].credential)
        except (UnknownProvider, ProviderError) as error:
            # Neither look nor order is possible without the account; nothing follows for its machines.
            logger.error("%s Its jobs wait until that is mended.", error)
            for attempt in attempts:
                release(attempt.job_id, leases[attempt.job_id], next_check_in=AFTER_MISTAKE)
            continue
        looks = _look_at(provider, attempts)
        quiet: defaultdict[float, list[tuple[Attempt, Machine | Look]]] = defaultdict(list)
        soonest = PROMPT_SECONDS + 1
        now, traits = clock.now(), traits_of(provider)
        for attempt in attempts:
            look: Machine | Look = Look.FAILED if looks is None else looks.get(attempt.name, Look.ABSENT)
            next_in = _nothing_to_do(attempt, look, now, traits)
            if next_in is not None:
                quiet[next_in].append((attempt, look))
            else:
                next_in = _apply(provider, attempt, leases[attempt.job_id], look)
            if next_in is not None and next_in < soonest:
                soonest, first = next_in, attempt.job_id
        for next_in, left_alone in quiet.items():
            _leave_alone(left_alone, leases, now, next_in)
        if soonest <= PROMPT_SECONDS:
            wake.poll(first, after=soonest)
    looked_at = {attempt.job_id for attempts in by_account.values() for attempt in attempts}
    for job_id in leases.keys() - looked_at:
        stopping.without_machine(job_id, leases[job_id])


def _look_at(provider: Provider, attempts: list[Attempt]) -> dict[str, Machine] | None:
    """One look at one account; None when it did not work, which says nothing about any of its machines."""
    credential = attempts[0].credential
    try:
        looks = dict(provider.observe([_ref(attempt) for attempt in attempts]))
    except ProviderError as error:
        logger.warning("provider %s could not be looked at: %s", provider.name, error)
        if isinstance(error, AuthError):
            accounts.refused(credential, error)
        return None
    except SoftTimeLimitExceeded:
        raise  # the whole task is to end, not this account's part of it
    except Exception:  # a mistake in one provider's part must not hold up the accounts after it
        logger.exception("provider %s could not be looked at", provider.name)
        return None
    accounts.works(credential)
    return looks


def _nothing_to_do(attempt: Attempt, look: Machine | Look, now: datetime, traits: Traits) -> float | None:
    """Seconds until the next look where this one calls for nothing but to be noted; None where it may.

    Judged from rows that are not locked: whatever changed meanwhile wakes the job itself.
    """
    if isinstance(look, Machine) and (
        look.report is not None
        or attempt.state != AttemptState.LIVE
        or look.price_per_hour not in (None, attempt.price_per_hour)
    ):
        return None
    decision = decide(view_of(attempt.job, attempt), look, now, traits)
    return decision.next_in if decision == Decision(next_in=decision.next_in) else None


def _leave_alone(
    looked_at: list[tuple[Attempt, Machine | Look]], leases: dict[UUID, UUID], now: datetime, next_in: float
) -> None:
    """Note what many looks taught, read the meters that are due, and give the leases back, in a few statements."""
    tokens = {leases[attempt.job_id] for attempt, _ in looked_at}
    seen = [(attempt, look) for attempt, look in looked_at if isinstance(look, Machine)]
    news: defaultdict[tuple[tuple[str, Any], ...], list[UUID]] = defaultdict(list)
    for attempt, machine in seen:
        if fields := _news(attempt, machine):
            news[tuple(fields.items())].append(attempt.pk)
    for items, ids in news.items():
        Attempt.objects.filter(pk__in=ids).update(**dict(items))
    due = [one for one, _ in seen if one.metered_until is not None and now - one.metered_until >= METER_EVERY]
    meter_many(due, tokens, now)
    release_all([attempt.job_id for attempt, _ in looked_at], tokens, next_check_in=next_in)


def _apply(provider: Provider, attempt: Attempt, lease: UUID, look: Machine | Look) -> float | None:
    """Do what a look calls for, under the job's lock. Return the seconds until the next look, None for no more."""
    job_id, next_in = attempt.job_id, None
    with looking_after(job_id, lease):
        if isinstance(look, Machine):
            _take_in(attempt, lease, look)
        now = clock.now()
        with fenced(job_id, lease) as job:
            attempt.refresh_from_db()
            if not attempt.is_open:
                return None
            decision = decide(view_of(job, attempt), look, now, traits_of(provider))
            _write(job, attempt, decision, look, now)
        if decision.create_again:
            submission.go_on(job_id, lease, attempt, provider)
        elif decision.send_stop:
            stopping.send_stop(provider, attempt, lease, force=decision.force)
        if decision.request_stop:
            _stop_for_a_limit(job_id, decision.request_stop)
        if decision.close is None:
            next_in = decision.next_in
            release(job_id, lease, next_check_in=next_in)
    return next_in


def _take_in(attempt: Attempt, lease: UUID, machine: Machine) -> None:
    """Store what the look taught us that needs no decision: a machine found by its name, and reported progress."""
    if attempt.state == AttemptState.INTENT:
        submission.adopt(attempt.job_id, lease, attempt, machine)
        # `adopt` gave the lease back; without it nothing more may be written in this round.
        raise LeaseLost(f"Job {attempt.job_id}: adopted, the next look goes on.")
    if machine.report is not None:
        ingest.record_report(attempt, machine)


def _write(job: Job, attempt: Attempt, decision: Decision, look: Machine | Look, now: datetime) -> None:
    if decision.close is not None:
        close = decision.close
        machine = look if isinstance(look, Machine) else None
        reason = which_limit(job, attempt, close.reason)
        close_attempt(
            attempt,
            reason,
            close.evidence,
            never_created=close.never_created,
            exit_code=machine.exit_code if machine else None,
            error_message=_explain(reason, machine),
            error_stack=machine.output_tail if machine else "",
        )
        end_job(job, attempt, reason)
        return
    if decision.missed:
        Attempt.objects.filter(pk=attempt.pk).update(
            list_misses=F("list_misses") + 1, first_missed_at=Coalesce("first_missed_at", Now())
        )
    elif isinstance(look, Machine):
        if news := _news(attempt, look):
            Attempt.objects.filter(pk=attempt.pk).update(**news)
        if look.state is MachineState.STARTING and not provider_class(attempt.provider).runs_program:
            # It waits in a queue and holds no GPU yet: this time costs nothing.
            Attempt.objects.filter(pk=attempt.pk, metered_until__lt=now).update(metered_until=now)
        else:
            # A stopped machine may be told as free while its disk is still billed: the last price stands.
            meter(attempt, now, price=None if look.state is MachineState.EXITED else look.price_per_hour)
    if decision.alert_stop:
        _alert_stop(job, attempt)
    if decision.stage is not None:
        message = _STAGE_MESSAGES[decision.stage]
        # Where a person must act, the page says so in full.
        detail = message if decision.stage == "create_unknown" else ""
        set_stage(job.pk, decision.stage, message, detail=detail, attempt=attempt.n)


def _news(attempt: Attempt, machine: Machine) -> dict[str, Any]:
    """What a look teaches for good: that it was there, when it was first seen to run or to have ended, what it is."""
    fields: dict[str, Any] = {"list_misses": 0, "first_missed_at": None} if attempt.list_misses else {}
    if machine.state is MachineState.RUNNING and attempt.running_seen_at is None:
        fields["running_seen_at"] = Now()
    if machine.state is MachineState.EXITED and attempt.exited_seen_at is None:
        fields["exited_seen_at"] = Now()
    if machine.gpu_type and machine.gpu_type[:120] != attempt.gpu_type:
        fields["gpu_type"] = machine.gpu_type[:120]
    return fields


def _alert_stop(job: Job, attempt: Attempt) -> None:
    Attempt.objects.filter(pk=attempt.pk).update(stop_alerted_at=Now())
    last = attempt.calls.filter(op="stop").exclude(detail="").first()
    message = (
        "The machine has been told to end for five minutes and is still there and billed. The order is repeated until "
        f"it is gone. Machine: {attempt.external_id or attempt.name}."
        + (f" The provider said: {last.detail}" if last else "")
    )
    record_event(job.pk, EventType.WARNING, message, level="error", data={"what": "still_billed"}, attempt=attempt.n)


_STAGE_MESSAGES = {
    "contact_lost": "The training program has not called for five minutes.",
    "releasing": "The program has ended; waiting until its machine is gone.",
    "still_billed": "Told to end, but the machine is still there and billed. The order is repeated until it is gone.",
    "create_unknown": "The answer to the request for a machine was lost, and this provider cannot be searched. An "
    "operator must say in the admin what became of it; nothing is asked for twice meanwhile.",
}


def _explain(reason: EndReason, machine: Machine | None) -> str:
    """What was seen, for the page to show beside what the reason means."""
    text = CONSEQUENCES[reason].text
    if machine is not None and machine.outcome == Outcome.FAILED and machine.detail:
        return machine.detail
    if machine is None or machine.exit_code is None or reason in (EndReason.COMPLETED, EndReason.CANCELLED_BY_USER):
        return text if reason is not EndReason.COMPLETED else ""
    return f"{text} The program ended with exit code {machine.exit_code} and did not report why."


def _stop_for_a_limit(job_id: UUID, reason: EndReason) -> None:
    try:
        request_stop(job_id, reason, CONSEQUENCES[reason].text)
    except Conflict as conflict:
        logger.info("job %s needs no stop: %s", job_id, conflict)


def _ref(attempt: Attempt) -> MachineRef:
    # A machine that was seen to run and is to end may have ended itself; a new one may only not be shown yet.
    ends = attempt.running_seen_at is not None and (attempt.outcome or attempt.job.desired == Desired.STOP)
    return MachineRef(
        attempt.name,
        attempt.external_id,
        after_step=attempt.reported_step,
        end_expected=bool(ends) or attempt.stop_acknowledged_at is not None,
    )
