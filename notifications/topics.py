"""What an open page shows of a person's notifications."""

from __future__ import annotations

from typing import Any

from notifications.models import Notification

NEWEST = 10


def snapshot(user_id: int) -> dict[str, Any]:
    """{"unread": number on the bell, "items": the newest ones}; JSON-ready."""
    mine = Notification.objects.filter(owner_id=user_id)
    return {"unread": mine.unread().count(), "items": [shown(one) for one in mine[:NEWEST]]}


def shown(notification: Notification) -> dict[str, Any]:
    """One notification as the API and the socket show it."""
    return {
        "id": str(notification.pk),
        "type": notification.type,
        "priority": notification.priority,
        "title": notification.title,
        "message": notification.message,
        "action_url": notification.link,
        "metadata": notification.metadata,
        "job": str(notification.job_id) if notification.job_id else None,
        "created_at": notification.created_at.isoformat(),
        "read_at": notification.read_at.isoformat() if notification.read_at else None,
        "read": notification.read_at is not None,
    }
