from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q


class Budget(models.Model):
    """What one person's jobs may cost in a calendar month (UTC). Its row is the lock under which jobs are admitted."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="budget", primary_key=True
    )
    monthly_limit = models.DecimalField(
        max_digits=12, decimal_places=2, null=True, blank=True, help_text="US dollars; blank: no limit."
    )
    # Which alert of which month was told, so that none is told twice.
    told_month = models.DateField(null=True, blank=True, editable=False)
    told = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Per cent")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["owner"]
        constraints = [
            models.CheckConstraint(
                condition=Q(monthly_limit=None) | Q(monthly_limit__gte=0), name="budget_not_negative"
            )
        ]

    def __str__(self) -> str:
        return f"{self.monthly_limit} USD a month" if self.monthly_limit is not None else "no limit"


class CostRecord(models.Model):
    """One piece of a job's cost. Metered pieces are append-only: their sum is the job's cost.

    An invoiced record stands beside them, one for each attempt, and follows what the provider's bill says.
    Records outlive their job: deleting a job gives nobody back what it has cost in this month.
    """

    class Kind(models.TextChoices):
        METERED = "metered", "Metered"  # observed seconds x the price in force
        INVOICED = "invoiced", "Invoiced"  # what the provider's own bill says

    id = models.BigAutoField(primary_key=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="cost_records"
    )
    provider = models.CharField(max_length=32, default="")
    job = models.ForeignKey(
        "pipeline.Job", on_delete=models.SET_NULL, null=True, blank=True, related_name="cost_records"
    )
    attempt = models.ForeignKey(
        "pipeline.Attempt", on_delete=models.SET_NULL, null=True, blank=True, related_name="cost_records"
    )
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
        indexes = [
            models.Index(fields=["kind", "period_end"], name="cost_by_time"),  # everybody's spending by day
            models.Index(fields=["owner", "kind", "period_end"], name="cost_by_owner"),  # somebody's month
        ]

    def __str__(self) -> str:
        return f"{self.amount} USD for {self.seconds} s"
