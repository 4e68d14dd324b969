from __future__ import annotations

from django.contrib import admin

from pipeline.admin.parts import ShownAdmin, names_of
from pipeline.models import Rule


@admin.register(Rule)
class RuleAdmin(ShownAdmin):
    """People change theirs themselves; those of presets are changed on the preset's page."""

    list_display = ("sentence", "owner", "job", "preset", "enabled", "fired_at", "saw")
    list_select_related = ("owner", "job", "preset")
    list_filter = ("kind", "action", "enabled", ("fired_at", admin.EmptyFieldListFilter))
    search_fields = ("owner__username", "job__name", "saw")
    fields = names_of(Rule)
