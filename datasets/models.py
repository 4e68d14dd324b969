"""The dataset row: where the file is, what the check found, and whether a job may train on it."""

from __future__ import annotations

import uuid
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from training.records import RecordFormat


class Bucket(models.TextChoices):
    """The storage alias that holds the file; both live side by side."""

    UPLOADS = "lora-datasets", "Uploads"
    BROUGHT_IN = "training-files", "Brought in"


class Status(models.TextChoices):
    UPLOADED = "uploaded", "Waiting for its check"
    CHECKING = "checking", "Being checked"
    READY = "ready", "Ready"
    REJECTED = "rejected", "Not usable"


class Format(models.TextChoices):
    MESSAGES = RecordFormat.MESSAGES.value, "Chat (messages)"
    CONVERSATIONS = RecordFormat.CONVERSATIONS.value, "ShareGPT (conversations)"
    INSTRUCTION = RecordFormat.INSTRUCTION.value, "Instruction"
    PROMPT_COMPLETION = RecordFormat.PROMPT_COMPLETION.value, "Prompt and completion"
    TEXT = RecordFormat.TEXT.value, "Plain text"


UNCHECKED = (Status.UPLOADED, Status.CHECKING)


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def for_user(self, user: AbstractBaseUser | AnonymousUser) -> DatasetQuerySet:
        """The user's own datasets; none for somebody who is not signed in."""
        if not user.is_authenticated:
            return self.none()
        return self.filter(owner_id=user.pk)

    def ready(self) -> DatasetQuerySet:
        return self.filter(training_ready=True)

    def without_report(self) -> DatasetQuerySet:
        """For lists: the report and the checker's notes can be large."""
        return self.defer("report", "check_state")

    def unleased(self) -> DatasetQuerySet:
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=Now()))

    def due(self) -> DatasetQuerySet:
        return self.unleased().filter(status__in=UNCHECKED, next_check_at__lte=Now())


class Dataset(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=200)
    storage_bucket = models.CharField(max_length=32, choices=Bucket, default=Bucket.UPLOADS)
    storage_path = models.CharField(max_length=500)
    original_filename = models.CharField(max_length=255, blank=True)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)

    format = models.CharField(max_length=32, choices=Format, blank=True)
    given_format = models.CharField(
        max_length=32, choices=Format, blank=True, help_text="Set by the owner; blank lets the check find it."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.UPLOADED)
    row_count = models.BigIntegerField(default=0)
    total_training_pairs = models.BigIntegerField(default=0)
    training_ready = models.BooleanField(default=False)
    report = models.JSONField(default=dict, blank=True, help_text="Shape: datasets.checking.tally.Tally.report().")
    error = models.TextField(blank=True, help_text="One sentence: why the dataset is not usable.")
    validation_for = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="validation_sets",
        help_text="The training dataset that this one is held out for.",
    )

    created_at = models.DateTimeField(auto_now_add=True)
    checked_at = models.DateTimeField(null=True, blank=True)
    next_check_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True, editable=False)
    check_state = models.JSONField(null=True, blank=True, editable=False, help_text="Where an unfinished check stands.")

    objects = DatasetQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="dataset_status_known"),
            models.CheckConstraint(condition=Q(storage_bucket__in=Bucket.values), name="dataset_bucket_known"),
            models.CheckConstraint(condition=Q(format__in=["", *Format.values]), name="dataset_format_known"),
            models.CheckConstraint(
                condition=Q(training_ready=False) | (Q(status=Status.READY) & ~Q(sha256="") & ~Q(format="")),
                name="dataset_ready_is_checked",
            ),
            models.CheckConstraint(
                condition=Q(size_bytes__gte=0) & Q(row_count__gte=0) & Q(total_training_pairs__gte=0),
                name="dataset_counts_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(validation_for=None) | ~Q(validation_for=F("id")), name="dataset_not_its_own_validation"
            ),
            models.UniqueConstraint(
                fields=["storage_bucket", "storage_path"],
                condition=Q(storage_bucket=Bucket.UPLOADS),
                name="dataset_upload_stored_once",
            ),
            # A shared file may be brought in by several people, but only once by each.
            models.UniqueConstraint(fields=["owner", "storage_bucket", "storage_path"], name="dataset_brought_in_once"),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="dataset_owner_newest"),
            models.Index(
                fields=["next_check_at"], condition=Q(status__in=["uploaded", "checking"]), name="dataset_check_due"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_being_checked(self) -> bool:
        return self.status in UNCHECKED

    @property
    def progress(self) -> dict[str, Any] | None:
        """{"rows", "bytes", "total_bytes"} while the check runs, else None."""
        return self.report.get("progress") if self.status == Status.CHECKING else None
