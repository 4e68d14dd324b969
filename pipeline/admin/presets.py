from __future__ import annotations

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import JSONField, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget

from pipeline.models import Preset


@admin.register(Preset)
class PresetAdmin(ModelAdmin):
    """The model itself refuses hyperparameters that no run would take."""

    list_display = ("name", "slug", "position", "is_default", "description")
    list_editable = ("position",)
    prepopulated_fields = {"slug": ("name",)}
    search_fields = ("name", "slug", "description")
    readonly_fields = ("is_default",)
    formfield_overrides = {JSONField: {"widget": UnfoldAdminTextareaWidget}}
    actions = ("make_default",)

    @action(description="Make it the default", permissions=["change"])
    def make_default(self, request: HttpRequest, presets: QuerySet[Preset]) -> None:
        """One step for both rows: the database allows one default, so a form would have to clear the other first."""
        if len(presets) != 1:
            self.message_user(request, "Choose exactly one preset to be the default.", messages.WARNING)
            return
        preset = presets[0]
        with transaction.atomic():
            Preset.objects.filter(is_default=True).update(is_default=False)
            Preset.objects.filter(pk=preset.pk).update(is_default=True)
        self.message_user(request, f"{preset.name} is the default now.", messages.SUCCESS)
