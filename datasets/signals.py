"""A dataset's file goes when its row has gone, whichever way the row was deleted (API, admin, its owner's account)."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from datasets import storage
from datasets.checking.runner import notes_folder
from datasets.models import Bucket, Dataset


@receiver(post_delete, sender=Dataset)
def remove_files_after_commit(instance: Dataset, **_: Any) -> None:
    """Files brought in from elsewhere are not ours to delete; our notes about them are."""
    folder, path = notes_folder(instance.pk), instance.storage_path
    is_ours = instance.storage_bucket == Bucket.UPLOADS

    def remove_files() -> None:
        storage.remove_others(Bucket.UPLOADS, folder)
        if is_ours:
            storage.remove(Bucket.UPLOADS, path)

    transaction.on_commit(remove_files, robust=True)
