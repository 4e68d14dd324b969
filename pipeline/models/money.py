from __future__ import annotations

from django.db import models
from django.db.models import Q


class CostRecord(models.Model):
    """One metered piece of machine time. Append-only: a job's cost is the sum of its records."""

    class Kind(models.TextChoices):
        METERED = "metered", "Metered"  # observed seconds x the price in force
        INVOICED = "invoiced", "Invoiced"  # what the provider's own bill says

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="cost_records")
    attempt = models.ForeignKey("pipeline.Attempt", on_delete=models.CASCADE, related_name="cost_records")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.METERED)
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    seconds = models.DecimalField(max_digits=14, decimal_places=3)
    price_per_hour = models.DecimalField(max_digits=12, decimal_places=6)
    amount = models.DecimalField(max_digits=14, decimal_places=6, help_text="US dollars")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["period_start", "id"]
        constraints = [
            # Two meters that look at the same attempt at once cannot both write the same piece of time.
            models.UniqueConstraint(fields=["attempt", "kind", "period_start"], name="cost_once_per_period"),
            models.CheckConstraint(condition=Q(kind__in=["metered", "invoiced"]), name="cost_kind_known"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, seconds__gte=0, period_end__gte=models.F("period_start")),
                name="cost_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} USD for {self.seconds} s"
