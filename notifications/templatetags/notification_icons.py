"""What the pages about notifications show as icons, beside the words that carry the meaning, and when."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils import timezone

from notifications.models import Delivery, Destination, Kind

register = template.Library()

DESTINATIONS = {
    Destination.Type.EMAIL: "mail",
    Destination.Type.SLACK: "brand-slack",
    Destination.Type.DISCORD: "brand-discord",
    Destination.Type.WEBHOOK: "webhook",
    Destination.Type.APPRISE: "send",
}
# The bell in the header shows the same: frontend/static/js/notifications.js.
KINDS = {
    Kind.JOB_STARTED: "rocket",
    Kind.JOB_COMPLETED: "circle-check",
    Kind.JOB_FAILED: "alert-triangle",
    Kind.JOB_CANCELLED: "ban",
}
DELIVERIES = {
    Delivery.State.PENDING: "hourglass",
    Delivery.State.SENDING: "send",
    Delivery.State.FAILED: "refresh",
    Delivery.State.DELIVERED: "circle-check",
    Delivery.State.DEAD: "alert-triangle",
}


@register.filter
def destination_icon(kind: str) -> str:
    return DESTINATIONS[Destination.Type(kind)]


@register.filter
def note_icon(kind: str) -> str:
    return KINDS.get(Kind(kind), "bell")


@register.filter
def delivery_icon(state: str) -> str:
    return DELIVERIES[Delivery.State(state)]


@register.filter
def next_try(at: datetime) -> str:
    minutes = round((at - timezone.now()).total_seconds() / 60)
    if minutes < 1:
        return "next try within a minute"
    return f"next try in {minutes} min" if minutes < 90 else f"next try in {round(minutes / 60)} h"
