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


class Owned(models.QuerySet[Any]):
    """Rows of destinations, and of what hangs on them: a person sees their own."""

    owner = "owner_id"

    def for_user(self, user: Any) -> Owned:
        if not getattr(user, "is_authenticated", False):
            return self.none()
        return self.filter(**{self.owner: user.pk})


class OwnedThroughDestination(Owned):
    owner = "destination__owner_id"


class Destination(models.Model):
    """Where a person is told beside the bell. Address and signing secrets are sealed and never shown again."""

    class Type(models.TextChoices):
        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack"
        DISCORD = "discord", "Discord"
        WEBHOOK = "webhook", "Webhook"
        APPRISE = "apprise", "Another service"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="destinations")
    kind = models.CharField(max_length=8, choices=Type.choices)
    name = models.CharField(max_length=80)
    # pipeline.vault, bound to this row and its owner: the address, and what messages to it are signed with.
    sealed = models.BinaryField(editable=False)
    hint = models.CharField(max_length=254, help_text="What of the address may be shown.")
    old_secret_until = models.DateTimeField(
        null=True, blank=True, help_text="Until then messages are signed with the former secret, too."
    )
    enabled = models.BooleanField(default=True)
    problem = models.CharField(max_length=300, blank=True, help_text="Why it does not work now, as a sentence.")
    given_up = models.PositiveIntegerField(default=0, help_text="Deliveries given up in a row.")
    rest_until = models.DateTimeField(null=True, blank=True, help_text="Left alone until then, after a failure.")
    worked_at = models.DateTimeField(null=True, blank=True, help_text="Last time it took a message.")
    tested_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = Owned.as_manager()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="destination_name_once"),
            models.CheckConstraint(
                condition=Q(kind__in=["email", "slack", "discord", "webhook", "apprise"]),
                name="destination_kind_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.get_kind_display()})"


class Subscription(models.Model):
    """A person's choice about one kind of event and one destination. Where there is none, `default_choice` counts."""

    id = models.BigAutoField(primary_key=True)
    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="subscriptions")
    type = models.CharField(max_length=32, choices=Kind.choices)
    wanted = models.BooleanField()

    objects = OwnedThroughDestination.as_manager()

    class Meta:
        ordering = ["destination", "type"]
        constraints = [
            models.UniqueConstraint(fields=["destination", "type"], name="subscription_once"),
            models.CheckConstraint(condition=Q(type__in=Kind.values), name="subscription_type_known"),
        ]

    def __str__(self) -> str:
        return f"{self.destination}: {self.type} {'yes' if self.wanted else 'no'}"


def default_choice(kind: str) -> bool:
    """Whether a destination is told of a kind of event as long as its owner has not chosen: of all but starts."""
    return kind != Kind.JOB_STARTED


class Delivery(models.Model):
    """One notification on its way to one destination, stored together with it, so that none is forgotten."""

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        SENDING = "sending", "Being sent"
        FAILED = "failed", "Failed, tried again"
        DELIVERED = "delivered", "Delivered"
        DEAD = "dead", "Given up"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="deliveries")
    destination = models.ForeignKey(Destination, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=9, choices=State.choices, default=State.PENDING)
    tries = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(help_text="When these tries began: they end after three days.")
    next_try_at = models.DateTimeField()
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    last_error = models.CharField(max_length=300, blank=True)
    response_status = models.PositiveIntegerField(null=True, blank=True, help_text="HTTP status of the last answer.")
    created_at = models.DateTimeField(auto_now_add=True)
    last_try_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    objects = OwnedThroughDestination.as_manager()

    WAITING = (State.PENDING, State.SENDING, State.FAILED)

    class Meta:
        verbose_name_plural = "deliveries"
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["notification", "destination"], name="delivery_once"),
            models.CheckConstraint(
                condition=Q(state__in=["pending", "sending", "failed", "delivered", "dead"]),
                name="delivery_state_known",
            ),
            models.CheckConstraint(
                condition=Q(state="delivered", delivered_at__isnull=False) | ~Q(state="delivered"),
                name="delivery_has_its_time",
            ),
        ]
        indexes = [
            models.Index(
                fields=["destination", "next_try_at"],
                condition=Q(state__in=["pending", "sending", "failed"]),
                name="delivery_waiting",
            ),
            models.Index(fields=["destination", "-created_at"], name="delivery_by_destination"),
        ]

    def __str__(self) -> str:
        return f"{self.notification} to {self.destination.name}"
