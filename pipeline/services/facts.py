"""Rows to the plain values that `pipeline.decide` reasons about."""

from __future__ import annotations

from datetime import timedelta

from pipeline.decide import Traits, View
from pipeline.models import Attempt, Job
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
        create_called=attempt.calls.filter(op="create").exists(),
        first_missed_at=attempt.first_missed_at,
        machine_seen_at=attempt.machine_seen_at,
        first_contact_at=attempt.first_contact_at,
        last_seen_at=attempt.last_seen_at,
        outcome=attempt.outcome,
        outcome_reason=attempt.outcome_reason,
        outcome_at=attempt.outcome_at,
        max_duration=timedelta(seconds=job.max_duration),
    )


def traits_of(provider: Provider) -> Traits:
    return Traits(provider.runs_program, provider.stop_is_graceful, provider.poll_seconds, provider.contact_seconds)
