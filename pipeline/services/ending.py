"""How an attempt is closed and what then becomes of its job."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from pipeline import clock, wake
from pipeline.costs import amount_for, meter, unmetered
from pipeline.models import Artifact, Attempt, EventType, Job
from pipeline.models.artifacts import ArtifactKind, ArtifactState
from pipeline.models.jobs import Desired
from pipeline.providers.registry import provider_class
from pipeline.states import CONSEQUENCES, AttemptState, EndReason, JobStatus
from pipeline.texts import ending_text
from pipeline.transitions import advance, record_event

RETRY_SECONDS = (15, 30, 60, 120, 300, 600)


def close_attempt(
    attempt: Attempt,
    reason: EndReason,
    evidence: str,
    *,
    never_created: bool = False,
    exit_code: int | None = None,
    error_message: str = "",
    error_stack: str = "",
) -> None:
    """Write down that an attempt's machine is gone. Call with the job's row locked; the token is dead from here on."""
    attempt.refresh_from_db()
    if not attempt.is_open:
        return
    if not never_created:
        meter(attempt, clock.now(), final=True)
    fields: dict[str, Any] = {
        "state": AttemptState.NEVER_CREATED if never_created else AttemptState.GONE,
        "reason": reason,
        "exit_code": exit_code,
        "gone_at": Now(),
        "gone_evidence": evidence[:300],
        "error_message": attempt.error_message or error_message,
        "error_stack": attempt.error_stack or error_stack,
    }
    Attempt.objects.filter(pk=attempt.pk).update(**fields)
    attempt.refresh_from_db()
    record_event(
        attempt.job_id,
        EventType.ATTEMPT,
        f"Attempt {attempt.n} is over: {evidence}",
        data={"what": "closed", "reason": reason, "evidence": evidence, "exit_code": exit_code},
        attempt=attempt.n,
    )


def which_limit(job: Job, attempt: Attempt, reason: EndReason) -> EndReason:
    """Which limit ended a run. The program knows one limit of time only, into which its money was turned."""
    if reason is not EndReason.DEADLINE_EXCEEDED or job.cost_limit is None:
        return reason
    spent = job.current_cost + unmetered(attempt, clock.now())
    nearly = amount_for(timedelta(seconds=90), attempt.price_per_hour)
    return EndReason.BUDGET_EXCEEDED if spent + nearly >= job.cost_limit else reason


def end_job(
    job: Job, attempt: Attempt | None, reason: EndReason, *, may_retry: bool = True, retry_after: float | None = None
) -> None:
    """Give a job whose attempt is closed its next status: queued again, or the end. Call with its row locked."""
    job.refresh_from_db()
    number = attempt.n if attempt else None
    consequence = CONSEQUENCES[reason]
    if may_retry and consequence.retryable and job.status != JobStatus.CANCELLING and _used(job) < job.max_attempts:
        delay = timedelta(seconds=retry_after or RETRY_SECONDS[min(_used(job), len(RETRY_SECONDS)) - 1])
        moved = advance(
            job.pk,
            JobStatus.QUEUED,
            f"{consequence.text} Trying again in {int(delay.total_seconds())} s.",
            stage="waiting_to_retry",
            level="warning",
            data={"cause": reason},
            attempt=number,
            next_check_in=delay,
            desired=Desired.RUN,
            stop_reason="",
            stop_requested_at=None,
            eta_seconds=None,
        )
        if moved:
            wake.submit(job.pk, after=delay.total_seconds())
        return
    status = consequence.status
    if status is JobStatus.CANCELLED and job.status != JobStatus.CANCELLING:
        # The program stopped at a limit by itself, before the server told it to.
        advance(
            job.pk,
            JobStatus.CANCELLING,
            EndReason(reason).label,
            stage="stopping",
            desired=Desired.STOP,
            stop_reason=reason,
            stop_requested_at=Now(),
        )
    adapter = _stored_adapter(attempt) if attempt else None
    done: dict[str, Any] = {"progress": 100.0} if status is JobStatus.COMPLETED else {}
    advance(
        job.pk,
        status,
        ending_text(job, reason),
        stage="ended",
        level={JobStatus.FAILED: "error", JobStatus.CANCELLED: "warning"}.get(status, "info"),
        attempt=number,
        reason=reason,
        error_message=(attempt.error_message if attempt else "") if status is JobStatus.FAILED else "",
        error_stack=(attempt.error_stack if attempt else "") if status is JobStatus.FAILED else "",
        final_cost=Job.objects.values_list("current_cost", flat=True).get(pk=job.pk),
        artifact=adapter,
        **done,
    )


def _used(job: Job) -> int:
    """Attempts that count against the retry policy. Losing the race for a slot of our own is nobody's failure."""
    attempts = job.attempts.all()
    if provider_class(job.provider).has_slots:
        attempts = attempts.exclude(state=AttemptState.NEVER_CREATED, reason=EndReason.NO_CAPACITY)
    return max(1, attempts.count())


def _stored_adapter(attempt: Attempt) -> Artifact | None:
    return (
        Artifact.objects.filter(job_id=attempt.job_id, kind=ArtifactKind.ADAPTER, state=ArtifactState.STORED)
        .order_by("-created_at")
        .first()
    )
