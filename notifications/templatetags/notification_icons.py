"""Which icon stands for what; the words beside them carry the meaning."""

from __future__ import annotations

from django import template

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
