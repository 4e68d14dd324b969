"""The pages about notifications. They stand in the frame of the other pages, whose package does not know this one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from notifications import destinations
from notifications.models import Delivery, Destination, Kind, Notification
from notifications.templatetags.notification_icons import DESTINATIONS
from notifications.transports import email

PAGE_SIZE = 25


@dataclass(frozen=True)
class KindOfDestination:
    """What the form for a new destination says of a kind."""

    value: Destination.Type
    field: str
    input_type: str
    placeholder: str
    help: str
    unavailable: str = ""

    @property
    def label(self) -> str:
        return str(self.value.label)

    @property
    def icon(self) -> str:
        return DESTINATIONS[self.value]


@login_required
@never_cache
@require_GET
def notification_list(request: HttpRequest) -> HttpResponse:
    """The whole page, or with the header X-Fragment only the list."""
    mine = Notification.objects.for_user(request.user)
    unread = mine.unread().count()
    kind = request.GET.get("type", "")
    kind = kind if kind in Kind.values else ""
    only_unread = request.GET.get("unread") == "1"
    found = mine.filter(type=kind) if kind else mine
    found = found.unread() if only_unread else found
    deliveries = Delivery.objects.select_related("destination").order_by("destination__created_at", "pk")
    rows = (
        found.select_related("job").prefetch_related(Prefetch("deliveries", deliveries)).order_by("-created_at", "id")
    )
    page = Paginator(rows, PAGE_SIZE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "unread": unread,
        "only_unread": only_unread,
        "type": kind,
        "types": Kind.choices,
        "has_any": bool(page.paginator.count) or mine.exists(),
        "waiting": any(one.state in Delivery.WAITING for row in page for one in row.deliveries.all()),
    }
    name = "list_fragment" if request.headers.get("X-Fragment") else "list"
    return render(request, f"notifications/{name}.html", context)


@login_required
@never_cache
@require_GET
def settings_page(request: HttpRequest) -> HttpResponse:
    """The whole page, or with the header X-Fragment only destinations and choices."""
    matrix = destinations.matrix(request.user)
    choices = kinds(request.user)
    context = {
        "destinations": [one for one, _ in matrix],
        "rows": [(value, label, [(one, wanted[value]) for one, wanted in matrix]) for value, label in Kind.choices],
        "kinds": choices,
        "first_kind": next(one.value for one in choices if not one.unavailable),
    }
    name = "settings_fragment" if request.headers.get("X-Fragment") else "settings"
    return render(request, f"notifications/{name}.html", context)


def kinds(user: Any) -> list[KindOfDestination]:
    kind = Destination.Type
    return [
        KindOfDestination(
            kind.EMAIL,
            "E-mail address",
            "email",
            getattr(user, "email", "") or "ada@example.org",
            "Messages go to this address, through the mail server of this installation.",
            email.NO_SERVER if email.no_server() else "",
        ),
        KindOfDestination(
            kind.SLACK,
            "Address of the incoming webhook",
            "password",
            "https://hooks.slack.com/services/…",
            "In Slack: Apps, Incoming WebHooks, choose a channel, copy the webhook URL. Programs that take the same, "
            "such as Mattermost, work too.",
        ),
        KindOfDestination(
            kind.DISCORD,
            "Address of the webhook",
            "password",
            "https://discord.com/api/webhooks/…",
            "In Discord: Edit channel, Integrations, Webhooks, New webhook, Copy webhook URL.",
        ),
        KindOfDestination(
            kind.WEBHOOK,
            "Address that takes the messages",
            "url",
            "https://example.org/stoker",
            "A JSON document is posted there for each event, signed as Standard Webhooks has it. The secret is shown "
            "once, when you have added it.",
        ),
        KindOfDestination(
            kind.APPRISE,
            "Address in Apprise’s form",
            "password",
            "tgram://bot-token/chat-id",
            "Telegram, Pushover, PagerDuty and many others: appriseit.com shows the form for each.",
        ),
    ]
