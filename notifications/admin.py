from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from notifications.models import Notification
from pipeline.admin.parts import ShownAdmin


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
