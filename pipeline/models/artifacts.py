from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q


class ArtifactKind(models.TextChoices):
    ADAPTER = "adapter", "Adapter"
    CHECKPOINT = "checkpoint", "Checkpoint"
    LOG = "log", "Log"


class ArtifactState(models.TextChoices):
    UPLOADING = "uploading", "Uploading"
    STORED = "stored", "Stored"  # size and sha256 of the stored bytes were compared with what the program said


class Artifact(models.Model):
    """A file a run left behind, in the storage alias `artifacts`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey("pipeline.Job", on_delete=models.CASCADE, related_name="artifacts")
    attempt = models.ForeignKey("pipeline.Attempt", on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=16, choices=ArtifactKind.choices)
    state = models.CharField(max_length=16, choices=ArtifactState.choices, default=ArtifactState.UPLOADING)
    name = models.CharField(max_length=120)
    step = models.PositiveIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    path = models.CharField(max_length=400, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    stored_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=ArtifactKind.values), name="artifact_kind_known"),
            models.CheckConstraint(
                condition=Q(state=ArtifactState.UPLOADING, stored_at=None)
                | Q(state=ArtifactState.STORED, stored_at__isnull=False),
                name="artifact_stored_has_time",
            ),
            models.UniqueConstraint(fields=["attempt", "kind", "name"], name="artifact_once_per_attempt"),
        ]

    def __str__(self) -> str:
        return self.name
