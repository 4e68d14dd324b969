"""What a run tells about itself, and what it cost."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from pipeline.api.pagination import Window
from pipeline.models import Artifact, ArtifactKind, ArtifactState, EventType, MetricPoint
from pipeline.models.telemetry import METRIC_COLUMNS


@extend_schema_field({"oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]})
class NumberField(serializers.Field):
    """A metric's value; JSON has no NaN."""


class PointSerializer(serializers.Serializer):
    """One training step: its number, its time, and each metric by its name. A value that was no number is a text."""

    step = serializers.IntegerField()
    at = serializers.DateTimeField()
    attempt = serializers.IntegerField()
    loss = NumberField(required=False, help_text="Like each further metric: there when it was sent.")

    def to_representation(self, instance: MetricPoint) -> dict[str, Any]:
        values = {name: getattr(instance, name) for name in METRIC_COLUMNS}
        return {
            "step": instance.step,
            "at": instance.at.isoformat(),
            "attempt": instance.attempt,
            **{name: value for name, value in values.items() if value is not None},
            **(instance.extra or {}),
            **(instance.nonfinite or {}),
        }


class CostRecordSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    attempt = serializers.UUIDField(source="attempt_id")
    kind = serializers.ChoiceField(["metered", "invoiced"])
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    seconds = serializers.FloatField()
    price_per_hour = serializers.FloatField()
    amount = serializers.FloatField(help_text="US dollars")


class EventSerializer(serializers.Serializer):
    seq = serializers.IntegerField()
    kind = serializers.ChoiceField(EventType.choices)
    level = serializers.ChoiceField(["info", "warning", "error"])
    message = serializers.CharField()
    data = serializers.DictField()  # type: ignore[assignment]  # a field, not the property of this name
    attempt = serializers.IntegerField(allow_null=True)
    actor = serializers.CharField(help_text="User name of the person who did it, if one did.")
    at = serializers.DateTimeField(source="created_at")


class EventWindow(Window):
    kind = serializers.ChoiceField(EventType.choices, required=False, help_text="Only events of this kind.")


class EventPageSerializer(serializers.Serializer):
    results = EventSerializer(many=True)
    next_after = serializers.IntegerField(
        allow_null=True, help_text="Ask again with ?after= this; null: nothing more now."
    )


class SampleSerializer(serializers.Serializer):
    """A held-out prompt, answered by the base model and by the adapter. null: not answered yet, or not to be judged."""

    index = serializers.IntegerField()
    prompt = serializers.JSONField()
    expected = serializers.CharField()
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)
    valid_before = serializers.BooleanField(allow_null=True)
    valid_after = serializers.BooleanField(allow_null=True)
    exact_before = serializers.BooleanField(allow_null=True)
    exact_after = serializers.BooleanField(allow_null=True)


class ArtifactSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    attempt = serializers.IntegerField(source="attempt.n")
    kind = serializers.ChoiceField(ArtifactKind.choices)
    state = serializers.ChoiceField(ArtifactState.choices)
    name = serializers.CharField()
    step = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    created_at = serializers.DateTimeField()
    stored_at = serializers.DateTimeField(allow_null=True)
    loss = serializers.FloatField(
        allow_null=True, default=None, help_text="Training loss at `step`, or last before it."
    )
    eval_loss = serializers.FloatField(allow_null=True, default=None, help_text="Validation loss, likewise.")
    download_url = serializers.SerializerMethodField(help_text="null until the file is stored.")

    def get_download_url(self, artifact: Artifact) -> str | None:
        return f"/api/artifacts/{artifact.pk}/download/" if artifact.state == ArtifactState.STORED else None
