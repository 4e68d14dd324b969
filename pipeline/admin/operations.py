from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from unfold.decorators import display

from pipeline.admin.parts import ShownAdmin, names_of
from pipeline.models import AnsweredRequest, Count, ProcessBeat

SILENT_SECONDS = 60


@admin.register(ProcessBeat)
class ProcessBeatAdmin(ShownAdmin):
    list_display = ("name", "at", "shown_age")

    @display(description="Age", ordering="-at", label={"alive": "success", "silent": "danger"})
    def shown_age(self, beat: ProcessBeat) -> tuple[str, str]:
        seconds = (timezone.now() - beat.at).total_seconds()
        return ("alive" if seconds < SILENT_SECONDS else "silent"), f"{seconds:.0f} s ago"


@admin.register(AnsweredRequest)
class AnsweredRequestAdmin(ShownAdmin):
    """Which requests were answered once and for all. The answers may hold what is shown to their owners alone."""

    list_display = ("created_at", "owner", "asked", "key", "status", "location")
    list_select_related = ("owner",)
    search_fields = ("owner__username", "key", "asked")
    fields = readonly_fields = names_of(AnsweredRequest, "body")


@admin.register(Count)
class CountAdmin(ShownAdmin):
    """Tries that PostgreSQL counted while Redis could not. Who tried is a digest."""

    list_display = ("key", "count", "until")
    search_fields = ("key",)
