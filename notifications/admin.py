from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display

from notifications.destinations import send_again
from notifications.models import Delivery, Destination, Notification, Subscription
from pipeline.admin.parts import ShownAdmin, ShownInline, names_of
from pipeline.services.errors import Refusal


@admin.register(Notification)
class NotificationAdmin(ShownAdmin):
    list_display = ("created_at", "owner", "type", "priority", "title", "job", "read_at")
    list_select_related = ("owner", "job")
    list_filter = (
        ("type", ChoicesDropdownFilter),
        ("priority", ChoicesDropdownFilter),
        ("read_at", admin.EmptyFieldListFilter),
    )
    list_filter_submit = True
    search_fields = ("title", "message", "owner__username", "job__id")
    date_hierarchy = "created_at"


class SubscriptionInline(ShownInline):
    model = Subscription
    show_change_link = False


@admin.register(Destination)
class DestinationAdmin(ShownAdmin):
    """People name their destinations themselves; operators see whether they work, and never the addresses."""

    list_display = ("owner", "name", "kind", "hint", "state", "given_up", "worked_at", "problem")
    list_select_related = ("owner",)
    list_filter = (("kind", ChoicesDropdownFilter), "enabled", ("problem", admin.EmptyFieldListFilter))
    list_filter_submit = True
    search_fields = ("owner__username", "name", "hint", "problem")
    fields = readonly_fields = names_of(Destination, "sealed")
    inlines = (SubscriptionInline,)

    @display(description="State", label={"works": "success", "failing": "danger", "off": "warning"})
    def state(self, destination: Destination) -> tuple[str, str]:
        if not destination.enabled:
            return "off", "Off"
        return ("failing", "Failing") if destination.problem else ("works", "On")


@admin.register(Delivery)
class DeliveryAdmin(ShownAdmin):
    list_display = ("created_at", "shown_title", "shown_owner", "destination", "shown_state", "tries", "last_error")
    list_select_related = ("notification", "destination__owner")
    list_filter = (("state", ChoicesDropdownFilter), ("destination__kind", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("notification__title", "destination__name", "destination__owner__username", "last_error")
    date_hierarchy = "created_at"
    fields = readonly_fields = names_of(Delivery, "lease_token")
    actions = ("send_again",)

    @display(description="Notification")
    def shown_title(self, delivery: Delivery) -> str:
        return delivery.notification.title

    @display(description="Owner")
    def shown_owner(self, delivery: Delivery) -> str:
        return delivery.destination.owner.get_username()

    @display(
        description="State",
        label={"delivered": "success", "dead": "danger", "failed": "warning", "sending": "primary", "pending": "info"},
    )
    def shown_state(self, delivery: Delivery) -> tuple[str, str]:
        return delivery.state, delivery.get_state_display()

    @action(description="Send again", permissions=["view"])
    def send_again(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        done = 0
        for delivery in deliveries:
            try:
                send_again(delivery)
                done += 1
            except Refusal as refusal:
                self.message_user(request, f"{delivery}: {refusal}", messages.WARNING)
        if done:
            self.message_user(request, f"{done} sent as soon as possible.", messages.SUCCESS)
