"""What a run tells about itself. Every row carries the job's sequence number of the change that stored it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class EventType(models.TextChoices):
    STATUS = "status", "Status"
    STAGE = "stage", "Stage"
    ATTEMPT = "attempt", "Attempt"
    CHECKPOINT = "checkpoint", "Checkpoint"
    ARTIFACT = "artifact", "Artifact"
    STOP = "stop", "Stop requested"
    WARNING = "warning", "Warning"
    BUDGET = "budget", "Budget"
    RULE = "rule", "Rule"


class JobEvent(models.Model):
    """One thing that happened to a job, in order. Written in the transaction of the change it tells about."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=16, choices=EventType.choices)
    level = models.CharField(max_length=8, default="info")  # info | warning | error
    message = models.TextField()
    data = models.JSONField(default=dict, blank=True)
    attempt = models.PositiveSmallIntegerField(null=True, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="User name of the person who did it, if one did.")
    created_at = models.DateTimeField(auto_now_add=True)
    # The outbox of `notifications`: null until it has been turned into notifications.
    notified_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["job", "seq"]
        constraints = [
            models.UniqueConstraint(fields=["job", "seq"], name="event_seq_once"),
            models.CheckConstraint(condition=Q(kind__in=EventType.values), name="event_kind_known"),
            models.CheckConstraint(condition=Q(level__in=["info", "warning", "error"]), name="event_level_known"),
        ]
        indexes = [models.Index(fields=["id"], condition=Q(notified_at=None), name="event_outbox")]

    def __str__(self) -> str:
        return f"{self.seq} {self.kind}: {self.message}"


class MetricPoint(models.Model):
    """All values of one training step in one row; values that have no column of their own are in `extra`.

    Values are always finite. One that was not is null here and named in `nonfinite` ({"loss": "NaN"}).
    """

    pk = models.CompositePrimaryKey("job_id", "step")
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="metric_points", db_index=False)
    step = models.BigIntegerField()
    seq = models.BigIntegerField()
    attempt = models.SmallIntegerField()
    at = models.DateTimeField()
    epoch = models.FloatField(null=True)
    loss = models.FloatField(null=True)
    eval_loss = models.FloatField(null=True)
    learning_rate = models.FloatField(null=True)
    grad_norm = models.FloatField(null=True)
    mean_token_accuracy = models.FloatField(null=True)
    samples_per_second = models.FloatField(null=True)
    tokens_per_second = models.FloatField(null=True)
    elapsed_seconds = models.FloatField(null=True)
    remaining_seconds = models.FloatField(null=True)
    progress = models.FloatField(null=True)
    gpu_memory_allocated_gb = models.FloatField(null=True)
    gpu_memory_reserved_gb = models.FloatField(null=True)
    gpu_utilization = models.FloatField(null=True)
    extra = models.JSONField(null=True)
    nonfinite = models.JSONField(null=True)

    class Meta:
        ordering = ["job_id", "step"]
        indexes = [
            models.Index(fields=["job", "seq"], name="metric_by_seq"),
            # Few steps are evaluated; a rule compares all of them (`pipeline.services.rule_facts`).
            models.Index(fields=["job", "step"], condition=Q(eval_loss__isnull=False), name="metric_evaluations"),
        ]

    def __str__(self) -> str:
        return f"step {self.step}"


# The columns of MetricPoint that hold a metric, in table order. Everything else a program sends goes to `extra`.
METRIC_COLUMNS: tuple[str, ...] = tuple(
    f.name for f in MetricPoint._meta.local_fields if isinstance(f, models.FloatField)
)


class LogLine(models.Model):
    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="log_lines", db_index=False)
    attempt = models.SmallIntegerField()
    n = models.BigIntegerField(help_text="The program's event number; lines told by a provider count from 1.")
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    stream = models.CharField(max_length=8, default="stdout")
    text = models.TextField()

    class Meta:
        ordering = ["job_id", "attempt", "n"]
        constraints = [models.UniqueConstraint(fields=["job", "attempt", "n"], name="log_line_once")]
        indexes = [models.Index(fields=["job", "seq"], name="log_by_seq")]

    def __str__(self) -> str:
        return self.text


class Sample(models.Model):
    """A held-out prompt, answered by the base model and by the adapter. See training.contract.Sample."""

    id = models.BigAutoField(primary_key=True)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="samples")
    index = models.PositiveSmallIntegerField()
    seq = models.BigIntegerField()
    prompt = models.JSONField()
    expected = models.TextField()
    before = models.TextField(null=True)  # noqa: DJ001 - not answered is not an empty answer
    after = models.TextField(null=True)  # noqa: DJ001
    valid_before = models.BooleanField(null=True)
    valid_after = models.BooleanField(null=True)
    exact_before = models.BooleanField(null=True)
    exact_after = models.BooleanField(null=True)

    class Meta:
        ordering = ["job", "index"]
        constraints = [models.UniqueConstraint(fields=["job", "index"], name="sample_once")]

    def __str__(self) -> str:
        return f"sample {self.index}"
