"""What an open page shows of a person's notifications."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce

from notifications.models import Notification

NEWEST = 10


def snapshot(user_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """User id -> {"unread": the number on the bell, "items": the newest ones}; two queries for any number of users."""
    own = Notification.objects.filter(owner_id=OuterRef("pk")).order_by("-created_at", "id")
    unread = own.unread().order_by().values("owner_id").annotate(n=Count("pk")).values("n")
    people = (
        get_user_model()
        .objects.filter(pk__in=user_ids)
        .values_list("pk", Coalesce(Subquery(unread), 0), ArraySubquery(own.values("pk")[:NEWEST]))
    )
    rows = list(people)
    found = Notification.objects.in_bulk([pk for _, _, newest in rows for pk in newest])
    return {
        user_id: {"unread": count, "items": [shown(found[pk]) for pk in newest if pk in found]}
        for user_id, count, newest in rows
    }


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
