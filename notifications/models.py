from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q


class Kind(models.TextChoices):
    JOB_STARTED = "job_started", "Job started"
    JOB_COMPLETED = "job_completed", "Job completed"
    JOB_FAILED = "job_failed", "Job failed"
    JOB_CANCELLED = "job_cancelled", "Job cancelled"
    BUDGET_ALERT = "budget_alert", "Budget alert"
    JOB_STALLED = "job_stalled", "Job stalled"
    LOSS_DIVERGED = "loss_diverged", "Loss diverged"
    RULE_FIRED = "rule_fired", "A rule fired"
    DESTINATION_OFF = "destination_off", "A destination was switched off"


class Priority(models.TextChoices):
    LOW = "low", "Low"
    NORMAL = "normal", "Normal"
    HIGH = "high", "High"


class NotificationQuerySet(models.QuerySet["Notification"]):
    def for_user(self, user: Any) -> NotificationQuerySet:
        """A person's own notifications; none for somebody who is not signed in."""
        if not getattr(user, "is_authenticated", False):
            return self.none()
        return self.filter(owner_id=user.pk)

    def unread(self) -> NotificationQuerySet:
        return self.filter(read_at=None)


class Notification(models.Model):
    """Something a person is told once. Made from a job's event; the event can make only one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="notifications")
    type = models.CharField(max_length=32, choices=Kind.choices)
    priority = models.CharField(max_length=8, choices=Priority.choices, default=Priority.NORMAL)
    title = models.CharField(max_length=200)
    message = models.TextField(blank=True)
    action_url = models.CharField(max_length=300, blank=True, help_text="A path of this product, or blank.")
    metadata = models.JSONField(default=dict, blank=True)
    # What was told stays readable when its job is deleted.
    job = models.ForeignKey(
        "pipeline.Job", on_delete=models.SET_NULL, null=True, blank=True, related_name="notifications"
    )
    event = models.OneToOneField(
        "pipeline.JobEvent", on_delete=models.SET_NULL, null=True, blank=True, related_name="notification"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    read_at = models.DateTimeField(null=True, blank=True)

    objects = NotificationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(type__in=Kind.values), name="notification_type_known"),
            models.CheckConstraint(condition=Q(priority__in=Priority.values), name="notification_priority_known"),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="notification_by_owner"),
            # The number on the bell.
            models.Index(fields=["owner"], condition=Q(read_at=None), name="notification_unread"),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def link(self) -> str:
        """Where to look; blank when that is gone."""
        about_a_job = "job" in self.metadata
        return "" if about_a_job and self.job_id is None else self.action_url
