from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import JSONField, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from pipeline.models import Preset, Rule


class RuleForm(forms.ModelForm):
    """Without their parameters, rules get the usual ones of their kind."""

    class Meta:
        model = Rule
        fields = ("kind", "parameters", "action", "enabled")


class RuleInline(TabularInline):
    """Jobs made with the preset get a copy of each; those that exist keep theirs."""

    model = Rule
    form = RuleForm
    extra = 0
    verbose_name_plural = "Rules for jobs with this preset"
    formfield_overrides = {JSONField: {"widget": UnfoldAdminTextInputWidget}}


@admin.register(Preset)
class PresetAdmin(ModelAdmin):
    """The model itself refuses hyperparameters that no run would take."""

    list_display = ("name", "slug", "position", "is_default", "description")
    list_editable = ("position",)
    prepopulated_fields = {"slug": ("name",)}
    search_fields = ("name", "slug", "description")
    readonly_fields = ("is_default",)
    formfield_overrides = {JSONField: {"widget": UnfoldAdminTextareaWidget}}
    inlines = (RuleInline,)
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
