"""The attempts of a job with their costs, and what of a live job needs attention."""

from __future__ import annotations

from rest_framework import serializers

from pipeline.api.serializers.jobs import AttemptSerializer


class AttemptHistorySerializer(AttemptSerializer):
    """An attempt, and beside it where on the curve it began and what it cost."""

    gpu_type = serializers.CharField(help_text="What the provider gave, where it tells.")
    reason_label = serializers.CharField(source="get_reason_display")
    first_step = serializers.IntegerField(
        allow_null=True, help_text="Of the metric points that are its; null: it stored none, or a later one did again."
    )
    last_step = serializers.IntegerField(allow_null=True)
    metered = serializers.FloatField(help_text="US dollars: observed machine time × price, up to now.")
    invoiced = serializers.FloatField(allow_null=True, help_text="US dollars on the provider's bill; null: none yet.")
    invoice_settled = serializers.BooleanField(help_text="The bill is not expected to change any more.")


class NoteSerializer(serializers.Serializer):
    kind = serializers.CharField()
    level = serializers.ChoiceField(["info", "warning", "error"])
    title = serializers.CharField()
    text = serializers.CharField()
    until = serializers.DateTimeField(allow_null=True, help_text="When it goes on, where that is known.")
    action = serializers.ChoiceField(
        ["", "limits", "settings", "logs"], help_text="What a person can do: change limits or keys, read the log."
    )
