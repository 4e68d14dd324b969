"""Stopping: order the end of a job's machine, and say "cancelled" at once only where there never was one."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Coalesce, Now

from pipeline import accounts, clock, wake
from pipeline.decide import Look, decide
from pipeline.killpoints import killpoint
from pipeline.leases import claim, claim_due, fenced, looking_after, release
from pipeline.models import Attempt, CallOutcome, Job, ProviderCall
from pipeline.models.jobs import Desired
from pipeline.providers.base import MachineRef, Provider, ProviderError
from pipeline.services.ending import end_job
from pipeline.services.facts import open_attempt, traits_of, view_of
from pipeline.states import AttemptState, EndReason, JobStatus

logger = logging.getLogger(__name__)


def stop_due(overdue: timedelta = timedelta(0)) -> int:
    """Look after the jobs that want to stop and are due. Return how many."""
    leases = claim_due(
        settings.STOKER_POLLS_PER_CYCLE,
        JobStatus.QUEUED,
        JobStatus.INITIALIZING,
        JobStatus.RUNNING,
        JobStatus.CANCELLING,
        wanting_stop=True,
        within=-overdue,
    )
    for job_id, lease in leases.items():
        _stop(job_id, lease)
    return len(leases)


def stop(job_id: UUID) -> None:
    """Order the end of one job that wants to stop. Safe to call twice, late, or never."""
    lease = claim(job_id, JobStatus.QUEUED, JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING)
    if lease is not None:
        _stop(job_id, lease)
    else:
        # Someone is at it this moment (a poll, or the submission itself): come back when they are done.
        Job.objects.active().filter(pk=job_id, desired=Desired.STOP).update(next_check_at=Now())
        wake.poll(job_id, after=1.0)


def _stop(job_id: UUID, lease: UUID) -> None:
    with looking_after(job_id, lease):
        with fenced(job_id, lease) as job:
            attempt = open_attempt(job)
            if attempt is None or job.desired != Desired.STOP:
                order = None
            else:
                provider = accounts.provider_of(attempt)
                # The same rules as after a look that failed: when may a stop be ordered without having looked?
                order = decide(view_of(job, attempt), Look.FAILED, clock.now(), traits_of(provider))
        if attempt is None:
            without_machine(job_id, lease)
        elif order is not None and order.send_stop and attempt.state == AttemptState.LIVE and not attempt.stop_sent_at:
            send_stop(provider, attempt, lease, force=order.force)
            release(job_id, lease, next_check_in=0.5)
        # Otherwise it stays due. What follows belongs to the next look, which repeats the order while it must.
        wake.poll(job_id, after=0.5)


def send_stop(provider: Provider, attempt: Attempt, lease: UUID, *, force: bool) -> None:
    """Order the end of an attempt's machine once; the order is repeated until the provider shows that it is gone."""
    with fenced(attempt.job_id, lease):
        call = ProviderCall.objects.create(attempt=attempt, op="stop", actor=attempt.forced_by)
        Attempt.objects.filter(pk=attempt.pk).update(stop_sent_at=Coalesce("stop_sent_at", Now()))
    try:
        provider.stop(MachineRef(attempt.name, attempt.external_id), force=force)
        killpoint("stop.after_call")
        call.outcome = CallOutcome.OK
        Attempt.objects.filter(pk=attempt.pk).update(stop_acknowledged_at=Coalesce("stop_acknowledged_at", Now()))
    except ProviderError as error:
        logger.warning("job %s: stop order failed, it will be repeated: %s", attempt.job_id, error)
        call.outcome, call.detail, call.http_status = CallOutcome.UNKNOWN, str(error), error.status
    call.ended_at = Now()
    call.save(update_fields=["outcome", "detail", "http_status", "ended_at"])


def without_machine(job_id: UUID, lease: UUID) -> None:
    """End a job that wants to stop and has no open attempt: nothing was asked for, so nothing can be running."""
    with looking_after(job_id, lease), fenced(job_id, lease) as job:
        if job.desired == Desired.STOP and open_attempt(job) is None:
            end_job(job, None, EndReason(job.stop_reason), may_retry=False)
