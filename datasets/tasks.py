"""Celery tasks: an id in, one call. `check_due` is the safety net that beat runs; `check_dataset` is a wake-up."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from datasets.checking import runner


@shared_task
def check_dataset(dataset_id: str) -> None:
    runner.check(UUID(dataset_id))


@shared_task
def check_due() -> int:
    return runner.check_due()
