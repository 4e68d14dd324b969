"""Rules as the API takes and shows them. What their parameters may be is checked by `pipeline.services.rulebook`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from pipeline.api.serializers.strict import StrictSerializer
from pipeline.models import Preset, Rule
from pipeline.rule_kinds import RuleAction, RuleKind, Type
from pipeline.services.rulebook import RuleState, state_of

LATEST = 2**31 - 1


@extend_schema_field({"type": "object", "additionalProperties": True})
class ParametersField(serializers.DictField):
    """Each kind has its own; see /api/rules/kinds/."""


class RuleGivenSerializer(StrictSerializer):
    set_by_server = frozenset({"id", "job", "sentence", "state", "state_text", "saw", "fired_at", "built_in"})

    kind = serializers.ChoiceField(RuleKind.choices)
    parameters = ParametersField(default=dict, help_text="What is left out gets its default; see /api/rules/kinds/.")
    action = serializers.ChoiceField(RuleAction.choices, default=RuleAction.NOTIFY.value)
    enabled = serializers.BooleanField(default=True)


class RuleChangeSerializer(StrictSerializer):
    """What is left out stays as it is. A changed rule is armed again."""

    set_by_server = RuleGivenSerializer.set_by_server

    version = serializers.IntegerField(
        min_value=1, max_value=LATEST, help_text="Of the rule you saw. When it has another one now, nothing is changed."
    )
    kind = serializers.ChoiceField(RuleKind.choices, required=False)
    parameters = ParametersField(required=False, help_text="All of them: what is left out gets its default.")
    action = serializers.ChoiceField(RuleAction.choices, required=False)
    enabled = serializers.BooleanField(required=False)


class VersionQuery(serializers.Serializer):
    version = serializers.IntegerField(min_value=1, max_value=LATEST, help_text="Of the rule you saw.")


class PresetQuery(serializers.Serializer):
    preset = serializers.SlugField(max_length=50, required=False, allow_blank=True)

    def validate_preset(self, value: str) -> Preset | None:
        preset = Preset.objects.filter(slug=value).prefetch_related("rules").first() if value else None
        if value and preset is None:
            raise serializers.ValidationError("There is no such preset. See /api/presets/.", "does_not_exist")
        return preset


class SaidRuleSerializer(serializers.Serializer):
    """A rule that belongs to no job yet: what it would be made with, and how it reads."""

    kind = serializers.ChoiceField(RuleKind.choices)
    parameters = ParametersField()
    action = serializers.ChoiceField(RuleAction.choices)
    enabled = serializers.BooleanField()
    sentence = serializers.CharField(help_text="The rule as a person would say it.")


class RuleSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    job = serializers.UUIDField(source="job_id", allow_null=True, help_text="null: a default for jobs to come.")
    kind = serializers.ChoiceField(RuleKind.choices)
    parameters = ParametersField()
    action = serializers.ChoiceField(RuleAction.choices)
    enabled = serializers.BooleanField()
    built_in = serializers.BooleanField(help_text="Everybody has it; it is switched off instead of deleted.")
    version = serializers.IntegerField(help_text="Send it back with a change.")
    sentence = serializers.CharField(help_text="The rule as a person would say it.")
    state = serializers.SerializerMethodField()
    saw = serializers.CharField(help_text="What it saw last, or why nothing can be said yet.")
    fired_at = serializers.DateTimeField(allow_null=True)
    fired_step = serializers.IntegerField(allow_null=True)
    checked_at = serializers.DateTimeField(allow_null=True, help_text="When the job was last looked at for it.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="When a person last changed it.")

    @extend_schema_field({"type": "string", "enum": [one.value for one in RuleState]})
    def get_state(self, rule: Rule) -> str:
        return state_of(rule).value


class RuleParameterSerializer(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.ChoiceField([one.value for one in Type])
    label = serializers.CharField()  # type: ignore[assignment]  # a field, not the attribute of this name
    default = serializers.JSONField()
    unit = serializers.CharField()
    help = serializers.CharField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField())


class RuleKindSerializer(serializers.Serializer):
    kind = serializers.ChoiceField(RuleKind.choices)
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    parameters = RuleParameterSerializer(many=True)


def said(given: dict[str, Any]) -> dict[str, Any]:
    """A rule as it would be made, with its sentence."""
    return SaidRuleSerializer(given | {"sentence": Rule(**given).sentence}).data
