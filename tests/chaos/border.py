"""What tests do to the product from outside: let time pass, and let a process die between two lines."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import DateTimeField
from django.db.models.functions import Now

from pipeline import killpoints
from pipeline.leases import LEASE
from pipeline.models import Job

PLACES = (
    "intent.before_commit", "intent.after_commit", "create.before_call", "create.after_call", "adopt.before_event",
    "stop.after_call",
)  # fmt: skip


class Died(BaseException):
    """The process is dead. No `except Exception` of the product catches it, as nothing catches signal 9."""


def travel(seconds: float) -> None:
    """Let time pass: every moment that is stored moves into the past. Only intervals count, so nothing else differs."""
    with connection.cursor() as cursor:
        cursor.execute(_moves_into_the_past(), {"ago": timedelta(seconds=seconds)})


@functools.cache
def _moves_into_the_past() -> str:
    updates = []
    for model in apps.get_app_config("pipeline").get_models():
        columns = [field.column for field in model._meta.concrete_fields if isinstance(field, DateTimeField)]
        if columns:
            moves = ", ".join(f'"{column}" = "{column}" - %(ago)s' for column in columns)
            updates.append(f'moved_{len(updates)} AS (UPDATE "{model._meta.db_table}" SET {moves})')
    return f"WITH {', '.join(updates)} SELECT 1"


def dies_at(place: str, work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run `work` as a process that dies when it comes to `place`. Return whether it came there.

    A dead process gives nothing back: the leases that it held stay taken until their time is over.
    """
    with monkeypatch.context() as patch:
        patch.setenv(killpoints.ARMED, place)
        patch.setattr(killpoints, "die", _die)
        try:
            work()
        except Died as death:
            held = death.args[0]
            Job.objects.filter(pk__in=held, lease_token=None).exclude(next_check_at=None).update(
                lease_token=uuid.uuid4(), lease_until=Now() + LEASE
            )
            return True
    return False


def _die() -> None:
    os.environ.pop(killpoints.ARMED, None)
    raise Died(list(Job.objects.exclude(lease_token=None).values_list("pk", flat=True)))
