"""Celery tasks: an id in, one service call. Beat runs the `_due` tasks as the safety net; the others are wake-ups."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task
from django.db.models.functions import Now

from pipeline import balances, budgets, invoices
from pipeline.models import ProcessBeat
from pipeline.services import forgetting, observation, pruning, ruling, stopping, submission, sweeping


@shared_task
def submit_job(job_id: str) -> None:
    submission.submit(UUID(job_id))


@shared_task
def submit_due() -> int:
    return submission.submit_due()


@shared_task
def poll_job(job_id: str) -> None:
    observation.poll(UUID(job_id))


@shared_task
def poll_due() -> int:
    return observation.poll_due()


@shared_task
def cancel_job(job_id: str) -> None:
    stopping.stop(UUID(job_id))


@shared_task
def cancel_due() -> int:
    return stopping.stop_due()


@shared_task
def sweep_due() -> int:
    return sweeping.sweep_due()


@shared_task
def enforce_budgets_due() -> int:
    return budgets.enforce_due()


@shared_task
def judge_rules(job_id: str) -> int:
    return ruling.judge_job(UUID(job_id))


@shared_task
def judge_rules_due() -> int:
    return ruling.judge_due()


@shared_task
def check_invoices_due() -> int:
    return invoices.check_due()


@shared_task
def check_balances_due() -> int:
    return balances.check_due()


@shared_task
def forget_due() -> int:
    return forgetting.forget_due()


@shared_task
def prune_due() -> int:
    return pruning.prune_due()


@shared_task
def beat_tick() -> None:
    """Written through beat, broker and worker: its age tells whether all three live."""
    ProcessBeat.objects.update_or_create(name="beat", defaults={"at": Now()})
