"""Wake the background work for one job now instead of at the next beat. Losing a wake-up costs one beat interval."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from datasets.nudge import nudge


def submit(job_id: UUID, *, after: float | None = None) -> None:
    _on_commit("pipeline.tasks.submit_job", job_id, after)


def poll(job_id: UUID, *, after: float | None = None) -> None:
    _on_commit("pipeline.tasks.poll_job", job_id, after)


def cancel(job_id: UUID, *, after: float | None = None) -> None:
    _on_commit("pipeline.tasks.cancel_job", job_id, after)


def rules(job_id: UUID) -> None:
    _on_commit("pipeline.tasks.judge_rules", job_id, None)


def _on_commit(task: str, job_id: UUID, after: float | None) -> None:
    transaction.on_commit(lambda: nudge(task, str(job_id), countdown=after), robust=True)
