"""Joins two parts that must not know each other: the core stores an event, and people hear of it at once."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver

from datasets.nudge import nudge
from notifications.services import kind_of
from pipeline.models import JobEvent


@receiver(post_save, sender=JobEvent)
def wake_delivery(instance: JobEvent, created: bool, **_: Any) -> None:
    """Only for what becomes a notification. Losing the nudge costs one beat interval."""
    if created and kind_of(instance):
        transaction.on_commit(lambda: nudge("notifications.tasks.deliver_due"), robust=True)
