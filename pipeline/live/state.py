"""The live fields of a job: one dictionary for the API, the socket, the pages and the demo."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from pipeline.costs import amount_for, projection
from pipeline.models import Job
from pipeline.providers.registry import UnknownProvider, provider_class
from pipeline.querysets import ATTEMPT_FIELDS
from pipeline.states import ENDED_EARLY, STAGES, AttemptState, JobStatus
from pipeline.texts import ending_text, is_simulated

_JOBS_WITH_ATTEMPT = f"""
    SELECT pipeline_job.*, {", ".join(f"latest.{name} AS attempt_{name}" for name in ATTEMPT_FIELDS)},
        pipeline_job.status IN ('failed', 'cancelled') AND EXISTS (
            SELECT 1 FROM pipeline_artifact AS file
            WHERE file.job_id = pipeline_job.id AND file.kind = 'checkpoint' AND file.state = 'stored'
        ) AS has_checkpoint
    FROM pipeline_job LEFT JOIN LATERAL (
        SELECT * FROM pipeline_attempt WHERE job_id = pipeline_job.id ORDER BY n DESC LIMIT 1
    ) AS latest ON TRUE
    WHERE pipeline_job.id = ANY(%s::uuid[])"""  # noqa: S608 - field names are constants


def job_state(job: Job, now: datetime | None = None) -> dict[str, Any]:
    """The fields of `job` a person watches; JSON-ready. Best with a job from `with_attempt()`: else one more query."""
    now = now or timezone.now()
    attempt = _attempt(job)
    cost = live_cost(job, attempt, now)
    price = attempt["price_per_hour"] if attempt["price_per_hour"] is not None else job.price_per_hour
    return {
        "id": str(job.pk),
        "name": job.name,
        "url": job.get_absolute_url(),
        "status": job.status,
        "status_label": job.get_status_display(),
        "current_stage": job.current_stage,
        "stage_label": job.stage_detail or STAGES.get(job.current_stage, job.current_stage),
        "provider": job.provider,
        "simulated": is_simulated(job.provider),
        "gpu_type": job.gpu_type,
        "base_model": job.base_model,
        "progress": round(job.progress, 2),
        "current_epoch": job.current_epoch,
        "total_epochs": job.total_epochs,
        "current_step": job.current_step,
        "total_steps": job.total_steps,
        "current_metrics": job.current_metrics,
        "current_cost": _money(cost),
        "estimated_cost": _money(job.estimated_cost),
        "projected_cost": _money(projected_cost(job, cost, price)),
        "final_cost": _money(job.final_cost),
        "budget_limit": _money(job.budget_limit),
        "cost_limit": _money(job.cost_limit),
        "price_per_hour": _money(price),
        "currency": "USD",
        "eta_seconds": job.eta_seconds if job.status == JobStatus.RUNNING else None,
        "max_duration": job.max_duration,
        "created_at": _time(job.created_at),
        "queued_at": _time(job.queued_at),
        "started_at": _time(job.started_at),
        "completed_at": _time(job.completed_at),
        "updated_at": _time(job.updated_at),
        "last_seen_at": _time(attempt["last_seen_at"]),
        "reason": job.reason,
        "reason_text": ending_text(job),
        "stop_reason": job.stop_reason,
        "error_message": job.error_message,
        "error_stack": job.error_stack,
        "attempt": attempt["n"],
        "max_attempts": job.max_attempts,
        "external_job_id": attempt["external_id"] or "",
        "artifact_id": str(job.artifact_id) if job.artifact_id else None,
        "event_seq": job.event_seq,
        "can_start": job.status == JobStatus.PENDING,
        "can_cancel": job.is_active and job.status != JobStatus.CANCELLING,
        "can_retry": job.status in ENDED_EARLY,
        "can_resume": job.status in ENDED_EARLY and _has_checkpoint(job),
        "can_save": job.status == JobStatus.RUNNING and job.save_requested_at is None and _saves(job.provider),
        "server_time": _time(now),
    }


def jobs_with_attempt(ids: Collection[UUID]) -> list[Job]:
    """Jobs as from `with_attempt()`, by a statement written out: composing that one takes longer than running it."""
    return list(Job.objects.raw(_JOBS_WITH_ATTEMPT, [list(ids)]))


def live_cost(job: Job, attempt: dict[str, Any], now: datetime) -> Decimal:
    """What is metered plus what has run up since the meter was read, in US dollars."""
    if job.final_cost is not None:
        return job.final_cost
    if attempt["state"] not in (AttemptState.INTENT, AttemptState.LIVE) or not attempt["metered_until"]:
        return job.current_cost
    return job.current_cost + amount_for(max(now - attempt["metered_until"], timedelta(0)), attempt["price_per_hour"])


def projected_cost(job: Job, cost: Decimal, price_per_hour: Decimal) -> Decimal | None:
    """What it will have cost at its end at the present pace; None before there is one and after the end."""
    return projection(cost, job.eta_seconds, price_per_hour) if job.status == JobStatus.RUNNING else None


def _attempt(job: Job) -> dict[str, Any]:
    if "attempt_n" in job.__dict__:
        return {name: getattr(job, f"attempt_{name}") for name in ATTEMPT_FIELDS}
    row = job.attempts.order_by("-n").values(*ATTEMPT_FIELDS).first()
    return row or dict.fromkeys(ATTEMPT_FIELDS)


def _has_checkpoint(job: Job) -> bool:
    if "has_checkpoint" in job.__dict__:
        return bool(job.__dict__["has_checkpoint"])
    return job.artifacts.filter(kind="checkpoint", state="stored").exists()


def _saves(provider: str) -> bool:
    """Whether what runs there is our program, which saves a checkpoint when asked."""
    try:
        return provider_class(provider).runs_program
    except UnknownProvider:
        return False


def _money(value: Decimal | None) -> float | None:
    return None if value is None else float(round(value, 6))


def _time(value: datetime | None) -> str | None:
    return value.isoformat() if value else None
