"""Budgets, spending and estimates. Amounts here are decimal texts, exact to the millionth of a US dollar."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from pipeline.api.serializers.jobs import JobCreateSerializer
from pipeline.api.serializers.strict import StrictSerializer
from pipeline.spending import By

EARLIEST, LATEST = date(2000, 1, 1), date(2200, 1, 1)


class AmountField(serializers.DecimalField):
    """US dollars, as stored."""

    def __init__(self, **options: Any):
        super().__init__(max_digits=20, decimal_places=6, coerce_to_string=True, **options)


class MonthSerializer(serializers.Serializer):
    """The calendar month (UTC) of now. `spent` includes what has run up since the meter was read."""

    start = serializers.DateTimeField()
    limit = AmountField(allow_null=True, help_text="null: none.")
    spent = AmountField()
    held = AmountField(help_text="What live jobs may still cost.")
    left = AmountField(allow_null=True, help_text="What a further job may cost; null: nothing limits it.")
    projected = AmountField(help_text="`spent`, and what live jobs will still cost at their pace.")


class BudgetSerializer(StrictSerializer):
    set_by_server = frozenset({"month"})

    monthly_limit = serializers.DecimalField(
        max_digits=12, decimal_places=2, min_value=Decimal(0), allow_null=True, coerce_to_string=True,
        help_text="What your jobs may cost in a calendar month, US dollars; null: no limit.",
    )  # fmt: skip
    month = MonthSerializer(read_only=True)


class SpendingQuery(serializers.Serializer):
    by = serializers.ChoiceField([one.value for one in By], default=By.DAY.value)
    # `from` is a word of Python's own, so the fields are named in `get_fields`.

    def get_fields(self) -> dict[str, Any]:
        return super().get_fields() | {
            "from": serializers.DateField(required=False, help_text="The first day, UTC. Left out: of this month."),
            "to": serializers.DateField(required=False, help_text="The last day. Left out: of this month."),
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in ("from", "to"):
            if name in attrs and not EARLIEST <= attrs[name] <= LATEST:
                raise serializers.ValidationError({name: ["Choose a day from the year 2000 to 2199."]})
        return attrs


class SpendingRowSerializer(serializers.Serializer):
    key = serializers.CharField(help_text="A day, a provider, a user name or a job's id; blank: of deleted jobs.")
    # A field, not the property of this name.
    label = serializers.CharField()  # type: ignore[assignment]
    amount = AmountField(help_text="Metered, US dollars; without what is simulated.")
    simulated = AmountField(help_text="Metered at simulated machines: nobody bills it, and no month counts it.")
    invoiced = AmountField(allow_null=True, help_text="On providers' bills; null: none has come.")
    drift = AmountField(allow_null=True, help_text="Invoiced minus metered, of the machines that have a bill.")
    seconds = serializers.DecimalField(
        max_digits=20, decimal_places=3, coerce_to_string=True, help_text="Of machine time."
    )
    jobs = serializers.IntegerField()


class SpendingSerializer(serializers.Serializer):
    by = serializers.ChoiceField([one.value for one in By])
    first = serializers.DateField()
    last = serializers.DateField()
    currency = serializers.CharField()
    total = AmountField(help_text="Of the rows shown, without what is simulated.")
    simulated = AmountField(help_text="Of the rows shown.")
    more = serializers.BooleanField(help_text="There are further, cheaper rows; the CSV file has all.")
    rows = SpendingRowSerializer(many=True)
    month = MonthSerializer()


class EstimateQuery(serializers.Serializer):
    job = serializers.UUIDField()


class EstimateRequestSerializer(JobCreateSerializer):
    """A job as for /api/jobs/; its name does not matter here."""

    name = serializers.CharField(max_length=120, default="estimate")


class EstimateSerializer(serializers.Serializer):
    hours = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True)
    total = AmountField(allow_null=True, help_text="US dollars; null: not known.")
    low_hours = serializers.DecimalField(
        max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True, help_text="It should take no less."
    )
    high_hours = serializers.DecimalField(
        max_digits=12, decimal_places=4, allow_null=True, coerce_to_string=True, help_text="And no more."
    )
    confidence = serializers.ChoiceField(["none", "rough", "measured"])
    basis = serializers.CharField(help_text="Where the figure comes from, as a sentence.")
    runs = serializers.IntegerField(help_text="How many jobs it is learnt from.")
    price_per_hour = AmountField(help_text="Of the whole machine.")
    holds = AmountField(allow_null=True, help_text="What the job would hold of this month; null: nothing limits it.")
    problem = serializers.CharField(help_text="Why it could not start now; blank: it could.")
