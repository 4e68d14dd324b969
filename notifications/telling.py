"""From a notification to the message that travels, and what an owner is told of a destination's own fate."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from notifications.models import Destination, Kind, Notification, Priority
from notifications.transports.base import Message

TEST = "test"  # the type of a test message


def message_of(notification: Notification) -> Message:
    data: dict[str, Any] = {
        "id": str(notification.pk),
        "job": str(notification.job_id) if notification.job_id else None,
        "metadata": notification.metadata,
    }
    return Message(
        id=f"msg_{notification.pk.hex}",
        type=notification.type,
        priority=notification.priority,
        title=notification.title,
        text=notification.message,
        url=_absolute(notification.link),
        settings_url=_absolute(settings_path()),
        at=notification.created_at,
        data=data,
    )


def test_message(destination: Destination, message_id: str) -> Message:
    return Message(
        id=f"msg_{message_id}",
        type=TEST,
        priority=Priority.NORMAL,
        title="A test message from Stoker",
        text=f"It arrived: “{destination.name}” works. You will be told here of the events you choose.",
        url=_absolute(settings_path()),
        settings_url=_absolute(settings_path()),
        at=timezone.now(),
        data={"id": None, "job": None, "metadata": {}},
    )


def switched_off(destination: Destination, why: str) -> Notification:
    """What its owner is told, not yet stored."""
    return Notification(
        owner_id=destination.owner_id,
        type=Kind.DESTINATION_OFF,
        priority=Priority.HIGH,
        title=f"“{destination.name}” was switched off",
        message=f"You are not told there any more. {why} Mend it, then switch it on again.",
        action_url=settings_path(),
        metadata={"destination": str(destination.pk), "destination_name": destination.name},
    )


def settings_path() -> str:
    return reverse("notifications:settings")


def _absolute(path: str) -> str:
    return f"{settings.STOKER_PUBLIC_URL}{path}" if path else ""
