from __future__ import annotations

from django.contrib import admin

from pipeline.admin.parts import ShownAdmin
from pipeline.models import CostRecord


@admin.register(CostRecord)
class CostRecordAdmin(ShownAdmin):
    list_display = ("job", "attempt", "kind", "period_start", "period_end", "seconds", "price_per_hour", "amount")
    list_select_related = ("job", "attempt")
    list_filter = ("kind", "attempt__provider")
    search_fields = ("job__name", "job__id", "job__owner__username", "attempt__name")
    date_hierarchy = "period_start"
    ordering = ("-id",)
