"""Every machine that can be had, compared for one training."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from pipeline.api.serializers.jobs import JobCreateSerializer
from pipeline.api.serializers.money import AmountField
from pipeline.machine_table import Row
from pipeline.memory import Fit


class OffersRequestSerializer(JobCreateSerializer):
    """A job as for /api/jobs/, of which any part may be missing still."""

    name = serializers.CharField(max_length=120, allow_blank=True, default="")
    dataset = serializers.UUIDField(allow_null=True, default=None, help_text="null: nothing can be estimated yet.")
    base_model = serializers.CharField(max_length=200, allow_blank=True, default="")

    def validate_dataset(self, value: Any) -> Any:
        return None if value is None else self._own(value)


class ModelFactsSerializer(serializers.Serializer):
    parameters = serializers.FloatField(allow_null=True, help_text="null: not known.")
    guessed = serializers.BooleanField(help_text="Known from the model's name alone, so memory is a guess, too.")


class StandSerializer(serializers.Serializer):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # a field, not the attribute of this name
    simulated = serializers.BooleanField(help_text="Nothing is really trained.")
    problem = serializers.CharField(help_text="A sentence when its offers cannot be had now, else blank.")
    needs_account = serializers.BooleanField()
    has_account = serializers.BooleanField()
    takes_fallbacks = serializers.BooleanField(help_text="`gpu_config.fallbacks` are tried when there is no machine.")


class MachineRowSerializer(serializers.Serializer):
    provider = serializers.CharField()
    type = serializers.CharField()
    cloud = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    note = serializers.CharField()
    simulated = serializers.BooleanField()
    memory_gb = serializers.FloatField(allow_null=True, help_text="Of one GPU.")
    needs_gb = serializers.FloatField(allow_null=True, help_text="Of each GPU, estimated; null: the model is unknown.")
    fits = serializers.ChoiceField([one.value for one in Fit], help_text="tight: within what the estimate may err.")
    available = serializers.IntegerField(allow_null=True, help_text="Units free now; null: the provider does not tell.")
    stock = serializers.CharField(help_text="none, low, medium or high; blank: the provider does not tell.")
    in_stock = serializers.BooleanField(allow_null=True, help_text="null: the provider does not tell.")
    max_count = serializers.IntegerField()
    count = serializers.IntegerField(help_text="GPUs reckoned with: as many as asked for, or `max_count`.")
    price_per_hour = AmountField(help_text="US dollars, of all these GPUs.")
    hours = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True)
    low_hours = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True)
    high_hours = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True)
    total = AmountField(allow_null=True, help_text="US dollars; null: not known.")
    confidence = serializers.ChoiceField(["none", "rough", "measured"])
    basis = serializers.CharField(help_text="Where the estimate comes from, as a sentence.")
    runs = serializers.IntegerField(help_text="How many jobs it is learnt from.")

    def to_representation(self, instance: Row) -> dict[str, Any]:
        offer, told = instance.offer, instance.estimate
        need = instance.needs_gb
        return super().to_representation(
            {name: getattr(offer, name) for name in
             ("type", "cloud", "label", "note", "memory_gb", "available", "stock", "max_count")}
            | {name: getattr(told, name, None) for name in ("hours", "low_hours", "high_hours", "total")}
            | {
                "provider": instance.stand.name, "simulated": instance.stand.simulated, "fits": instance.fit.value,
                "needs_gb": None if need is None else round(need, 1), "in_stock": _in_stock(instance),
                "count": instance.gpus, "price_per_hour": instance.price_per_hour,
                "confidence": told.confidence if told else "none", "runs": told.runs if told else 0,
                "basis": told.basis if told else "Choose a dataset and a model first.",
            }
        )  # fmt: skip


def _in_stock(row: Row) -> bool | None:
    if row.offer.stock:
        return row.offer.stock != "none"
    return None if row.offer.available is None else row.offer.available > 0


class ProblemSerializer(serializers.Serializer):
    field = serializers.CharField()
    message = serializers.CharField()


class OffersSerializer(serializers.Serializer):
    model = ModelFactsSerializer()
    longest_row = serializers.IntegerField(allow_null=True, help_text="Tokens, estimated; null: not known.")
    problems = ProblemSerializer(many=True, help_text="Values that cannot be used; their defaults were reckoned with.")
    providers = StandSerializer(many=True)
    offers = MachineRowSerializer(many=True)
