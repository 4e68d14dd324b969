"""From events of jobs to notifications. The outbox is `JobEvent.notified_at`: nothing is lost, nothing told twice."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from notifications import messages, outbox
from notifications.models import Kind, Notification
from pipeline.live import hints
from pipeline.models import EventType, Job, JobEvent, MetricPoint
from pipeline.states import JobStatus

ENDINGS = {
    JobStatus.COMPLETED.value: Kind.JOB_COMPLETED,
    JobStatus.FAILED.value: Kind.JOB_FAILED,
    JobStatus.CANCELLED.value: Kind.JOB_CANCELLED,
}
# Titles hold the job's name, which may be longer than is good for one line.
MAX_TITLE = 200


def kind_of(event: JobEvent) -> Kind | None:
    """Which notification an event becomes; None for most of them."""
    if event.kind == EventType.STATUS:
        return ENDINGS.get(event.data.get("to", ""))
    if event.kind == EventType.BUDGET:
        return Kind.BUDGET_ALERT if "percent" in event.data else None
    if event.kind == EventType.WARNING and event.data.get("what") == "low_balance":
        return Kind.BUDGET_ALERT if event.data.get("tell") else None
    if event.kind == EventType.RULE:
        return messages.kind_of_rule(event) if event.data.get("what") == "fired" else None
    first_machine = event.kind == EventType.ATTEMPT and event.attempt == 1 and event.data.get("what") == "created"
    return Kind.JOB_STARTED if first_machine else None


def deliver_pending(limit: int = 500) -> int:
    """Turn up to `limit` waiting events into notifications; return how many events were dealt with.

    Safe to run twice, side by side, or to die half-way: rows are claimed by their locks and marked in the same
    transaction that stores the notifications.
    """
    with transaction.atomic():
        events = list(
            JobEvent.objects.filter(notified_at=None).order_by("id").select_for_update(skip_locked=True)[:limit]
        )
        kinds = {event.pk: kind for event in events if (kind := kind_of(event))}
        told = [event for event in events if event.pk in kinds]
        jobs = Job.objects.in_bulk({event.job_id for event in told})
        losses = _losses({event.job_id for event in told if kinds[event.pk] in ENDINGS.values()})
        made = [_notification(event, kinds[event.pk], jobs[event.job_id], losses) for event in told]
        Notification.objects.bulk_create(made, ignore_conflicts=True)
        # An event whose notification was there already has made no second one.
        stored = set(Notification.objects.filter(pk__in=[one.pk for one in made]).values_list("pk", flat=True))
        outbox.enqueue([one for one in made if one.pk in stored])
        JobEvent.objects.filter(pk__in=[event.pk for event in events]).update(notified_at=Now())
        _hint_on_commit({job.owner_id for job in jobs.values()})
    return len(events)


def mark_read(user_id: int, ids: Iterable[UUID] | None = None) -> int:
    """Mark these notifications of a person, or all of them, as read. Return how many were not before."""
    unread = Notification.objects.filter(owner_id=user_id).unread()
    if ids is not None:
        unread = unread.filter(pk__in=ids)
    with transaction.atomic():
        changed = unread.update(read_at=Now())
        if changed:
            _hint_on_commit({user_id})
    return changed


def _notification(event: JobEvent, kind: Kind, job: Job, losses: dict[UUID, messages.Losses]) -> Notification:
    nothing = messages.Losses()
    match kind:
        case Kind.JOB_STARTED:
            text = messages.started(job)
        case Kind.JOB_COMPLETED:
            text = messages.completed(job, losses.get(job.pk, nothing))
        case Kind.JOB_FAILED:
            text = messages.failed(job)
        case Kind.BUDGET_ALERT:
            text = messages.budget_alert(job, event)
        case Kind.LOSS_DIVERGED | Kind.JOB_STALLED | Kind.RULE_FIRED:
            text = messages.rule_fired(job, event)
        case _:
            text = messages.cancelled(job, losses.get(job.pk, nothing))
    return Notification(
        owner_id=job.owner_id,
        type=text.kind,
        priority=text.priority,
        title=text.title[:MAX_TITLE],
        message=text.message,
        action_url=job.get_absolute_url(),
        metadata={"job": str(job.pk), "job_name": job.name, "event_seq": event.seq} | text.metadata,
        job=job,
        event=event,
    )


def _losses(job_ids: set[UUID]) -> dict[UUID, messages.Losses]:
    """The first and the last training loss of each job that has any, in two queries."""
    points = MetricPoint.objects.filter(Q(job_id__in=job_ids), loss__isnull=False).distinct("job_id")
    first = dict(points.order_by("job_id", "step").values_list("job_id", "loss"))
    last = dict(points.order_by("job_id", "-step").values_list("job_id", "loss"))
    return {job_id: messages.Losses(first[job_id], last[job_id]) for job_id in first.keys() & last.keys()}


def _hint_on_commit(user_ids: set[int]) -> None:
    def publish() -> None:
        for user_id in user_ids:
            hints.publish_user(user_id)

    transaction.on_commit(publish, robust=True)
