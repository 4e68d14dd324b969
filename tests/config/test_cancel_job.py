"""Cancelling from the command line is cancelling as anywhere else."""

from __future__ import annotations

import io
import uuid

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from pipeline.models import JobEvent
from pipeline.states import JobStatus
from tests.factories import make_job, make_running_job, make_user


def cancel(*ids: object) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("cancel_job", *map(str, ids), stdout=out, stderr=err)
    except CommandError as error:
        err.write(str(error))
    return out.getvalue(), err.getvalue()


def test_a_running_job_is_ordered_to_end_and_the_history_says_by_whom(db: None) -> None:
    job, *_ = make_running_job(make_user("ada"))
    assert cancel(job.pk) == (f"{job.pk}: Cancelling.\n", "")
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLING
    assert JobEvent.objects.filter(job=job).latest("seq").actor == "command line"
    assert cancel(job.pk) == (f"{job.pk}: Its end was ordered before.\n", "")


@pytest.mark.parametrize("unknown", ["nonsense", str(uuid.UUID(int=7))])
def test_what_cannot_be_cancelled_is_told_and_the_others_are_cancelled(db: None, unknown: str) -> None:
    user = make_user("ada")
    saved, (running, *_) = make_job(user, provider="simulated"), make_running_job(user)
    out, err = cancel(unknown, saved.pk, running.pk)
    assert out == f"{running.pk}: Cancelling.\n"
    assert err.splitlines() == [
        f"{unknown}: There is no job with this id.",
        f"{saved.pk}: This job was never started, so there is nothing to cancel. Delete it instead.",
        "2 of 3 not cancelled.",
    ]
