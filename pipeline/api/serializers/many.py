"""Many jobs at once: one order for all of them, and their curves beside each other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers

from pipeline.api.serializers.money import AmountField
from pipeline.api.serializers.strict import StrictSerializer
from pipeline.metric_names import NAME
from pipeline.services import many
from pipeline.side_by_side import DEFAULT_NAMES, DEFAULT_POINTS, LEAST_POINTS, MOST_JOBS, MOST_NAMES, MOST_POINTS


class JobIdsSerializer(StrictSerializer):
    ids = serializers.ListField(
        child=serializers.UUIDField(), min_length=1, max_length=many.MOST, help_text="Jobs of yours."
    )


class AnswerSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    result = serializers.ChoiceField([many.ORDERED, many.BEFORE, many.REFUSED, many.NOT_FOUND])
    code = serializers.CharField(help_text="Why it was refused; blank otherwise.")
    message = serializers.CharField(help_text="The same as a sentence.")


class AnswersSerializer(serializers.Serializer):
    ordered = serializers.IntegerField(help_text="For how many jobs the order is stored now.")
    results = AnswerSerializer(many=True)


class CompareQuery(serializers.Serializer):
    ids = serializers.CharField(max_length=2_000, help_text=f"1 to {MOST_JOBS} jobs of yours, parted by commas.")
    names = serializers.CharField(
        required=False, allow_blank=True, max_length=2_000,
        help_text=f"At most {MOST_NAMES} metrics, parted by commas; left out: {' and '.join(DEFAULT_NAMES)}.",
    )  # fmt: skip
    points = serializers.IntegerField(
        min_value=LEAST_POINTS, max_value=MOST_POINTS, default=DEFAULT_POINTS, help_text="At most so many a curve."
    )

    def validate_ids(self, text: str) -> list[UUID]:
        try:
            ids = list(dict.fromkeys(UUID(part.strip()) for part in text.split(",") if part.strip()))
        except ValueError:
            raise serializers.ValidationError("An id is the UUID of a job; part several by commas.") from None
        if not 1 <= len(ids) <= MOST_JOBS:
            raise serializers.ValidationError(f"Name 1 to {MOST_JOBS} jobs.")
        return ids

    def validate_names(self, text: str) -> list[str]:
        names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        if len(names) > MOST_NAMES or not all(NAME.fullmatch(name) for name in names):
            raise serializers.ValidationError(f"Name at most {MOST_NAMES} metrics, as a job's metrics are named.")
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return attrs | {"names": attrs.get("names") or list(DEFAULT_NAMES)}


class CurveSerializer(serializers.Serializer):
    step = serializers.ListField(child=serializers.IntegerField())
    value = serializers.ListField(child=serializers.FloatField())


class ResultsSerializer(serializers.Serializer):
    """null: not known."""

    loss = serializers.FloatField(allow_null=True, help_text="The last one.")
    best_loss = serializers.FloatField(allow_null=True)
    eval_loss = serializers.FloatField(allow_null=True)
    best_eval_loss = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True, help_text="From the start of training to its end, or to now.")
    tokens = serializers.FloatField(allow_null=True, help_text="Trained on so far.")
    tokens_per_second = serializers.FloatField(allow_null=True, help_text="On average.")
    cost = AmountField(help_text="US dollars, so far.")
    cost_per_million_tokens = AmountField(allow_null=True)


class ComparedJobSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    url = serializers.CharField()
    status = serializers.CharField()
    simulated = serializers.BooleanField(help_text="Nothing is really trained.")
    seq = serializers.IntegerField(help_text="Frames of the job after this number continue its curves.")
    began = serializers.FloatField(allow_null=True, help_text="When its first point came, seconds since 1970.")
    points = serializers.IntegerField(help_text="Points stored.")
    downsampled = serializers.BooleanField()
    series = serializers.DictField(child=CurveSerializer())
    axes = serializers.DictField(child=CurveSerializer(), help_text="epoch, num_tokens and seconds over the step.")
    results = ResultsSerializer()


class ComparisonSerializer(serializers.Serializer):
    names = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many of the jobs have each metric, most first."
    )
    jobs = ComparedJobSerializer(many=True)
