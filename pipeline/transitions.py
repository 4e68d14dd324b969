"""The only writer of a job's status, and the only place that numbers what happens to a job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from pipeline.live import hints
from pipeline.models import EventType, Job, JobEvent
from pipeline.states import TERMINAL, TRANSITIONS, JobStatus

# For a job that must be looked after at once.
AT_ONCE = timedelta(0)


def sources(to: JobStatus) -> list[str]:
    """The statuses a job may come from to reach `to`."""
    return [status.value for status, targets in TRANSITIONS.items() if to in targets]


def advance(
    job_id: UUID,
    to: JobStatus,
    message: str,
    *,
    stage: str,
    only_from: Iterable[JobStatus] | None = None,
    level: str = "info",
    data: dict[str, Any] | None = None,
    attempt: int | None = None,
    actor: str = "",
    next_check_in: timedelta | None = AT_ONCE,
    **fields: Any,
) -> bool:
    """Move a job to `to` if it may go there from where it is, and write the event. Return whether it moved.

    `only_from` narrows the allowed sources further. `fields` are further columns set in the same UPDATE.
    """
    allowed = sources(to)
    if only_from is not None:
        allowed = [status for status in allowed if status in {s.value for s in only_from}]
    if to in TERMINAL:
        fields |= {
            "completed_at": Now(),
            "next_check_at": None,
            "lease_token": None,
            "lease_until": None,
            "eta_seconds": None,
        }
    elif next_check_in is not None:
        fields["next_check_at"] = Now() + next_check_in
    with transaction.atomic():
        moved = Job.objects.filter(pk=job_id, status__in=allowed).update(
            status=to, current_stage=stage, updated_at=Now(), **({"stage_detail": ""} | fields)
        )
        if not moved:
            return False
        payload = {"to": to.value, "stage": stage} | ({"reason": fields["reason"]} if fields.get("reason") else {})
        record_event(
            job_id, EventType.STATUS, message, level=level, data=payload | (data or {}), attempt=attempt, actor=actor
        )
    return True


def set_stage(job_id: UUID, stage: str, message: str, *, detail: str = "", attempt: int | None = None) -> bool:
    """Say what an active job is doing now; nothing is written when it is already known to do that."""
    with transaction.atomic():
        changed = (
            Job.objects.active()
            .filter(pk=job_id)
            .exclude(current_stage=stage, stage_detail=detail)
            .update(current_stage=stage, stage_detail=detail[:300], updated_at=Now())
        )
        if changed:
            record_event(job_id, EventType.STAGE, message, data={"stage": stage, "detail": detail}, attempt=attempt)
    return bool(changed)


def record_event(
    job_id: UUID,
    kind: EventType,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
    attempt: int | None = None,
    actor: str = "",
) -> JobEvent:
    """Append one event with the next number; to be called inside the transaction of the change it tells about."""
    return JobEvent.objects.create(
        job_id=job_id,
        seq=allocate(job_id),
        kind=kind,
        message=message,
        level=level,
        data=data or {},
        attempt=attempt,
        actor=actor,
    )


def allocate(job_id: UUID, count: int = 1) -> int:
    """Take the next `count` numbers of a job's sequence, return the last; open pages are woken after the commit.

    The row stays locked until the commit, so numbers become visible in their order and a reader that pages by them
    never misses one. An identity column would not give that.
    """
    assert connection.in_atomic_block, "A number is taken in the transaction of the change it belongs to."
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pipeline_job SET event_seq = event_seq + %s WHERE id = %s RETURNING event_seq", [count, job_id]
        )
        row = cursor.fetchone()
    if row is None:
        raise Job.DoesNotExist(f"Job {job_id} does not exist.")
    transaction.on_commit(lambda: hints.publish(job_id), robust=True)
    return int(row[0])
