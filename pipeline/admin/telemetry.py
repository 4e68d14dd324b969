"""What runs told about themselves. Metric points have a composite key, so they are on the page of their job only."""

from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from pipeline.admin.parts import LEVEL_COLOURS, ShownAdmin
from pipeline.models import Artifact, JobEvent, LogLine, Sample


@admin.register(JobEvent)
class JobEventAdmin(ShownAdmin):
    list_display = ("created_at", "job", "seq", "kind", "shown_level", "message", "attempt", "actor", "notified_at")
    list_select_related = ("job",)
    list_filter = (("kind", ChoicesDropdownFilter), "level", ("notified_at", admin.EmptyFieldListFilter))
    list_filter_submit = True
    search_fields = ("job__name", "job__id", "message", "actor")
    date_hierarchy = "created_at"
    ordering = ("-id",)

    @display(description="Level", ordering="level", label=LEVEL_COLOURS)
    def shown_level(self, event: JobEvent) -> str:
        return event.level


@admin.register(LogLine)
class LogLineAdmin(ShownAdmin):
    list_display = ("at", "job", "attempt", "n", "stream", "text")
    list_select_related = ("job",)
    search_fields = ("job__id", "job__name")
    search_help_text = "Name or id of a job. Its own page searches in the text."
    ordering = ("-id",)


@admin.register(Sample)
class SampleAdmin(ShownAdmin):
    list_display = ("job", "index", "valid_before", "valid_after", "exact_before", "exact_after")
    list_select_related = ("job",)
    search_fields = ("job__id", "job__name")
    ordering = ("-id",)


@admin.register(Artifact)
class ArtifactAdmin(ShownAdmin):
    list_display = ("name", "job", "attempt_number", "kind", "state", "step", "size_bytes", "created_at", "stored_at")
    list_select_related = ("job", "attempt")
    list_filter = (("kind", ChoicesDropdownFilter), ("state", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("name", "job__id", "job__name", "sha256", "path")
    date_hierarchy = "created_at"

    @display(description="Attempt", ordering="attempt__n")
    def attempt_number(self, artifact: Artifact) -> int:
        return artifact.attempt.n
