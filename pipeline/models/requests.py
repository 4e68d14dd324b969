from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

KEPT = timedelta(hours=24)  # how long an answer is given again


class AnsweredRequest(models.Model):
    """What was answered to a request that carried an `Idempotency-Key`, so that asking again makes nothing twice.

    Written in the transaction that makes what the request asks for: either both are there, or neither is.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    asked = models.CharField(max_length=300, help_text="Method and path.")
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body.")
    status = models.PositiveSmallIntegerField(null=True)
    location = models.CharField(max_length=300, blank=True)
    # As text: jsonb would put the names into another order than the first answer had.
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now(), db_index=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_answer_for_a_key")]

    def __str__(self) -> str:
        return f"{self.asked} ({self.key})"


class Count(models.Model):
    """How often something was tried in a stretch of time, where Redis cannot count; see pipeline.throttles."""

    key = models.CharField(max_length=100, primary_key=True)
    count = models.PositiveIntegerField()
    until = models.DateTimeField(db_index=True, help_text="Then it begins again at nothing.")

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"
