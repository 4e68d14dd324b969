"""The last resorts of an operator: a machine's end without grace, and an attempt closed on a person's word.

Neither goes around the machinery. An end without grace is the order that is given for every stop, told to be
merciless; it is written down first and repeated until the machine is gone. Only where no provider can be asked any
more does a statement take the place of evidence, and it is kept as what it is, under the name of who made it.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from pipeline import accounts, clock, wake
from pipeline.decide import TALKS
from pipeline.leases import claim, fenced, release
from pipeline.models import Attempt, EventType, Job
from pipeline.models.jobs import Desired
from pipeline.providers.base import MachineRef, ProviderError
from pipeline.providers.registry import UnknownProvider
from pipeline.services.ending import close_attempt, end_job
from pipeline.services.errors import Conflict
from pipeline.services.facts import open_attempt
from pipeline.services.jobs import request_cancel
from pipeline.states import EndReason, JobStatus
from pipeline.transitions import record_event

LEAST_EVIDENCE, MOST_EVIDENCE = 20, 250


def end_at_once(job_id: UUID, *, actor: str) -> bool:
    """Order the end of a job and of its machine, without a grace for its program. False: that was ordered before.

    Nothing is saved that the program has not saved yet. A job without a machine is cancelled, which is all there is to
    do. Raise Conflict when the job is not active.
    """
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        attempt = open_attempt(job)
        finishing = attempt is not None and attempt.outcome == "completed"
        # A program that has just finished leaves a machine all the same, and the job is completed, not cancelled.
        cancelled = False if finishing else request_cancel(job_id, actor=actor)
        if attempt is None:
            return cancelled
        if attempt.forced_by:
            return False
        Attempt.objects.filter(pk=attempt.pk).update(forced_by=actor)
        Job.objects.filter(pk=job_id).update(next_check_at=Now())
        message = "An operator ordered the end of the machine without grace. What was not saved yet is lost."
        data = {"what": "forced"}
        record_event(job_id, EventType.STOP, message, level="warning", data=data, attempt=attempt.n, actor=actor)
    wake.poll(job_id)
    return True


def close_on_word(attempt: Attempt, evidence: str, *, actor: str) -> None:
    """Close an attempt whose provider cannot be asked any more, because `actor` states that its machine is gone.

    `evidence` says how they know. Raise Conflict where the machinery can still find out by itself: its end without
    grace was not ordered, the provider answers, or the program still calls.
    """
    evidence = " ".join(evidence.split())
    if not LEAST_EVIDENCE <= len(evidence) <= MOST_EVIDENCE:
        raise Conflict(
            f"Say how you know that the machine is gone, in {LEAST_EVIDENCE} to {MOST_EVIDENCE} characters: where you "
            "looked, when, and what you saw.",
            code="evidence",
        )
    if not attempt.is_open:
        raise Conflict("This attempt is over already.", code="closed")
    lease = claim(attempt.job_id, JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING)
    if lease is None:
        raise Conflict("The job is being looked after at this moment. Try again in a minute.", code="busy")
    try:
        attempt.refresh_from_db()
        _refuse_unless_hopeless(attempt)
        with fenced(attempt.job_id, lease) as job:
            attempt.refresh_from_db()
            if not attempt.is_open:
                raise Conflict("This attempt is over already.", code="closed")
            stated = f"{actor} states that the machine is gone: {evidence}"
            data = {"what": "closed_on_word", "evidence": evidence}
            record_event(job.pk, EventType.ATTEMPT, stated, level="warning", data=data, attempt=attempt.n, actor=actor)
            reason = EndReason(job.stop_reason) if job.desired == Desired.STOP else EndReason.VANISHED
            close_attempt(attempt, reason, stated)
            end_job(job, attempt, reason, may_retry=False)
    finally:
        release(attempt.job_id, lease)
    attempt.refresh_from_db()


def _refuse_unless_hopeless(attempt: Attempt) -> None:
    if not attempt.is_open:
        raise Conflict("This attempt is over already.", code="closed")
    if not attempt.forced_by:
        raise Conflict("Order the end of its machine without grace first. That may be all it takes.", code="not_forced")
    if attempt.last_seen_at and clock.now() - attempt.last_seen_at < TALKS:
        raise Conflict("Its program has called this server within the last minutes, so it does run.", code="runs")
    with suppress(ProviderError, UnknownProvider):
        provider = accounts.provider_of(attempt)
        machine = provider.observe([MachineRef(attempt.name, attempt.external_id)]).get(attempt.name)
        seen = "and shows the machine" if machine is not None else "and does not show the machine"
        raise Conflict(
            f"The provider answers {seen}. Nobody's word is needed: it ends by itself once two looks agree that the "
            "machine is gone.",
            code="answers",
        )
