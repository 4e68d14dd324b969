"""A run's files go when their rows have gone, whichever way the job was deleted."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from datasets import storage
from pipeline.models import Artifact


@receiver(post_delete, sender=Artifact)
def remove_file_after_commit(instance: Artifact, **_: Any) -> None:
    transaction.on_commit(lambda: storage.remove("artifacts", instance.path), robust=True)
