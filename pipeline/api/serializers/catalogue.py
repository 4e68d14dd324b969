"""What there is to choose from: presets, base models, hyperparameters, providers and their offers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from pipeline.api.serializers.jobs import HyperparametersField
from pipeline.api.serializers.rules import SaidRuleSerializer
from pipeline.models import Preset
from training import hyperparameters as table
from training.hyperparameters import FieldType, Group


class PresetSerializer(serializers.Serializer):
    slug = serializers.SlugField()
    name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.BooleanField()
    hyperparameters = HyperparametersField(help_text="Only what the preset sets.")
    values = serializers.SerializerMethodField(
        help_text="All hyperparameters, as a job with this preset would have them."
    )

    rules = SaidRuleSerializer(many=True, help_text="What jobs with this preset get beside your own default rules.")

    def get_values(self, preset: Preset) -> dict[str, Any]:
        return table.defaults() | preset.hyperparameters


class BaseModelSerializer(serializers.Serializer):
    id = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field, not the attribute of this name
    parameters = serializers.IntegerField(allow_null=True)
    licence = serializers.CharField()
    note = serializers.CharField()
    gated = serializers.BooleanField(help_text="The Hugging Face Hub wants its licence accepted and a token.")
    on_this_machine = serializers.BooleanField()


class HyperparameterSerializer(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.ChoiceField([one.value for one in FieldType])
    default = serializers.JSONField()
    group = serializers.ChoiceField([one.value for one in Group])
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    minimum = serializers.FloatField(allow_null=True)
    maximum = serializers.FloatField(allow_null=True)
    choices = serializers.ListField(child=serializers.CharField())
    unit = serializers.CharField()


class OfferSerializer(serializers.Serializer):
    type = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    price_per_hour = serializers.FloatField(help_text="US dollars for one unit of `type`.")
    memory_gb = serializers.FloatField(allow_null=True)
    available = serializers.IntegerField(allow_null=True, help_text="Units free now; null: the provider does not tell.")
    max_count = serializers.IntegerField()
    cloud = serializers.CharField()
    stock = serializers.CharField(help_text="none, low, medium or high; blank: the provider does not tell.")
    note = serializers.CharField()


class ProviderSerializer(serializers.Serializer):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    simulated = serializers.BooleanField(help_text="Nothing is really trained.")
    available = serializers.BooleanField()
    problem = serializers.CharField(help_text="A sentence when its offers cannot be had now, else blank.")
    needs_account = serializers.BooleanField(help_text="A credential of yours opens it; see /api/credentials/.")
    has_account = serializers.BooleanField(help_text="Whether you have one, or it needs none.")
    offers = OfferSerializer(many=True)
