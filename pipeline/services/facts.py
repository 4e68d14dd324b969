"""Rows to the plain values that `pipeline.decide` reasons about."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from pipeline.decide import Traits, View
from pipeline.models import Attempt, CallOutcome, Job, ProviderCall
from pipeline.models.jobs import Desired
from pipeline.providers.base import Provider
from pipeline.states import ATTEMPT_CLOSED, AttemptState


def open_attempt(job: Job) -> Attempt | None:
    return job.attempts.exclude(state__in=[s.value for s in ATTEMPT_CLOSED]).first()


def view_of(job: Job, attempt: Attempt) -> View:
    return View(
        state=AttemptState(attempt.state),
        wants_stop=job.desired == Desired.STOP,
        stop_reason=job.stop_reason,
        stop_requested_at=job.stop_requested_at,
        stop_sent_at=attempt.stop_sent_at,
        attempt_created_at=attempt.created_at,
        create_unknown_since=attempt.create_unknown_since,
        create_called=_create_called(attempt),
        first_missed_at=attempt.first_missed_at,
        machine_seen_at=attempt.machine_seen_at,
        running_seen_at=attempt.running_seen_at,
        exited_seen_at=attempt.exited_seen_at,
        first_contact_at=attempt.first_contact_at,
        last_seen_at=attempt.last_seen_at,
        outcome=attempt.outcome,
        outcome_reason=attempt.outcome_reason,
        outcome_at=attempt.outcome_at,
        max_duration=time_left(job, attempt),
        stop_alerted=attempt.stop_alerted_at is not None,
        forced=bool(attempt.forced_by),
    )


def _create_called(attempt: Attempt) -> bool:
    """Whether a call may have made something: what was surely in vain does not count.

    Annotated where many attempts are read at once.
    """
    annotated: bool | None = getattr(attempt, "create_called", None)
    return made_calls(attempt.calls.all()).exists() if annotated is None else annotated


def made_calls(calls: QuerySet[ProviderCall]) -> QuerySet[ProviderCall]:
    """Those of `calls` that asked for a machine and may have made one."""
    return calls.filter(op="create").exclude(outcome=CallOutcome.DEFINITE_NO)


def time_left(job: Job, attempt: Attempt) -> timedelta:
    """What earlier attempts have left of the job's maximum duration for this one; never less than a minute."""
    limit = timedelta(seconds=job.max_duration)
    if attempt.n == 1:
        return limit
    earlier = job.attempts.filter(n__lt=attempt.n, first_contact_at__isnull=False, gone_at__isnull=False)
    used = timedelta(0)
    for one in earlier:
        assert one.gone_at
        assert one.first_contact_at
        used += one.gone_at - one.first_contact_at
    return max(limit - used, timedelta(minutes=1))


def traits_of(provider: Provider) -> Traits:
    return Traits(
        runs_program=provider.runs_program,
        stop_is_graceful=provider.stop_is_graceful,
        poll_seconds=provider.poll_seconds,
        contact_seconds=provider.contact_seconds,
        provision_seconds=provider.provision_seconds,
        finds_by_name=provider.finds_by_name,
        create_is_idempotent=provider.create_is_idempotent,
    )
