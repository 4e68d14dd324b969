from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from unfold.decorators import display

from pipeline.admin.parts import ShownAdmin
from pipeline.models import ProcessBeat

SILENT_SECONDS = 60


@admin.register(ProcessBeat)
class ProcessBeatAdmin(ShownAdmin):
    list_display = ("name", "at", "shown_age")

    @display(description="Age", ordering="-at", label={"alive": "success", "silent": "danger"})
    def shown_age(self, beat: ProcessBeat) -> tuple[str, str]:
        seconds = (timezone.now() - beat.at).total_seconds()
        return ("alive" if seconds < SILENT_SECONDS else "silent"), f"{seconds:.0f} s ago"
