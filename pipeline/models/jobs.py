from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from pipeline.querysets import JobQuerySet
from pipeline.states import ACTIVE, TERMINAL, EndReason, JobStatus


class Desired(models.TextChoices):
    RUN = "run", "Run"
    STOP = "stop", "Stop"


class Job(models.Model):
    """What a person asked for: train this adapter on that data, there, within these limits."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="jobs")
    name = models.CharField(max_length=120)
    dataset = models.ForeignKey("datasets.Dataset", on_delete=models.PROTECT, related_name="jobs")
    eval_dataset = models.ForeignKey(
        "datasets.Dataset", on_delete=models.PROTECT, null=True, blank=True, related_name="eval_jobs"
    )
    base_model = models.CharField(max_length=200)
    preset = models.ForeignKey("pipeline.Preset", on_delete=models.SET_NULL, null=True, blank=True)
    hyperparameters = models.JSONField(
        help_text="Complete: preset, overrides and defaults merged when the job was made."
    )

    provider = models.CharField(max_length=32)
    gpu_type = models.CharField(max_length=120)
    gpu_count = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(64)])
    cloud = models.CharField(max_length=32, blank=True)
    gpu_fallbacks = models.JSONField(
        default=list, blank=True, help_text="Types to take, in this order, when there is none of `gpu_type`."
    )
    price_per_hour = models.DecimalField(
        max_digits=12, decimal_places=6, default=0, help_text="Of the offer, when made."
    )

    budget_limit = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True, help_text="US dollars")
    # What the job may cost in all, held against its owner's month while it lives: the budget, and less when the month
    # leaves less. Null: nothing limits it.
    cost_limit = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    budget_told = models.PositiveSmallIntegerField(
        default=0, help_text="Per cent of the limit that its owner was last told about."
    )
    max_duration = models.PositiveIntegerField(default=24 * 3600, help_text="Seconds of running time.")
    priority = models.SmallIntegerField(default=0, validators=[MinValueValidator(-100), MaxValueValidator(100)])
    max_attempts = models.PositiveSmallIntegerField(
        default=3, validators=[MinValueValidator(1), MaxValueValidator(20)], help_text="Retry policy."
    )

    resume_from = models.ForeignKey(
        "pipeline.Artifact", on_delete=models.SET_NULL, null=True, blank=True, related_name="+",
        help_text="A checkpoint of another job with which this one begins.",
    )  # fmt: skip

    status = models.CharField(max_length=16, choices=JobStatus.choices, default=JobStatus.PENDING)
    current_stage = models.CharField(max_length=32, default="saved")
    stage_detail = models.CharField(max_length=300, blank=True)
    desired = models.CharField(max_length=8, choices=Desired.choices, default=Desired.RUN)
    stop_reason = models.CharField(max_length=32, choices=EndReason.choices, blank=True)
    stop_detail = models.CharField(max_length=300, blank=True, help_text="What the rule that stopped it saw.")
    stop_requested_at = models.DateTimeField(null=True, blank=True)
    save_requested_at = models.DateTimeField(
        null=True, blank=True, help_text="A checkpoint is wanted without a stop; null again when one was stored."
    )
    reason = models.CharField(max_length=32, choices=EndReason.choices, blank=True)
    error_message = models.TextField(blank=True)
    error_stack = models.TextField(blank=True)

    progress = models.FloatField(default=0, help_text="0 to 100")
    current_epoch = models.FloatField(default=0)
    total_epochs = models.FloatField(null=True, blank=True)
    current_step = models.PositiveBigIntegerField(default=0)
    total_steps = models.PositiveBigIntegerField(null=True, blank=True)
    eta_seconds = models.FloatField(null=True, blank=True)
    current_metrics = models.JSONField(default=dict, blank=True)
    plan = models.JSONField(default=dict, blank=True, help_text="What the program said it would do before it trained.")
    current_cost = models.DecimalField(max_digits=14, decimal_places=6, default=Decimal(0))
    estimated_cost = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    final_cost = models.DecimalField(max_digits=14, decimal_places=6, null=True, blank=True)
    estimate = models.JSONField(
        default=dict, blank=True, help_text="What was said when the job was made: hours, total, confidence and basis."
    )
    artifact = models.ForeignKey(
        "pipeline.Artifact", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True, help_text="When training was first seen running.")
    completed_at = models.DateTimeField(null=True, blank=True)

    pruned_at = models.DateTimeField(
        null=True, blank=True, help_text="When its metrics were thinned and its log was removed, long after its end."
    )

    # The sequence of stored changes; allocated by `pipeline.transitions.next_seq` under this row's lock.
    event_seq = models.PositiveBigIntegerField(default=0)
    # The outbox of the background work: the next beat that finds this due looks after the job.
    next_check_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)

    # No column: what a job that is not saved yet will be given (`pipeline.services.rulebook`).
    rules_to_give: Sequence[Mapping[str, Any]] = ()

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=JobStatus.values), name="job_status_known"),
            models.CheckConstraint(
                condition=Q(
                    status__in=sorted(s.value for s in TERMINAL), completed_at__isnull=False, final_cost__isnull=False
                )
                & ~Q(reason="")
                | ~Q(status__in=sorted(s.value for s in TERMINAL)) & Q(completed_at=None, reason="", final_cost=None),
                name="job_ended_is_complete",
            ),
            models.CheckConstraint(
                condition=Q(desired="run", stop_reason="", stop_requested_at=None)
                | Q(desired="stop", stop_requested_at__isnull=False) & ~Q(stop_reason=""),
                name="job_stop_has_reason",
            ),
            models.CheckConstraint(
                condition=~Q(status=JobStatus.CANCELLING) | Q(desired="stop"), name="job_cancelling_wants_stop"
            ),
            # An active job always has a time at which somebody looks after it: none can be forgotten.
            models.CheckConstraint(
                condition=~Q(status__in=sorted(s.value for s in ACTIVE)) | Q(next_check_at__isnull=False),
                name="job_active_has_next_check",
            ),
            models.CheckConstraint(condition=Q(progress__gte=0, progress__lte=100), name="job_progress_percent"),
            models.CheckConstraint(
                condition=Q(current_cost__gte=0, gpu_count__gte=1, max_attempts__gte=1, max_duration__gte=1)
                & (Q(budget_limit=None) | Q(budget_limit__gt=0))
                & (Q(cost_limit=None) | Q(cost_limit__gte=0)),
                name="job_amounts_sane",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="job_by_owner"),
            # `submit_due`, `poll_due` and `cancel_due` ask: which active jobs of this status are due?
            models.Index(
                fields=["status", "next_check_at"],
                condition=Q(status__in=sorted(s.value for s in ACTIVE)),
                name="job_due",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def gpu_config(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "type": self.gpu_type,
            "count": self.gpu_count,
            "cloud": self.cloud,
            "price_per_hour": str(self.price_per_hour),
        }

    def get_absolute_url(self) -> str:
        return f"/jobs/{self.pk}/"
