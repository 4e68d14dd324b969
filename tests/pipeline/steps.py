"""What happens to a job, step by step, as the tasks would do it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from pipeline.models import Attempt, Job
from pipeline.services import observation, submission
from tests.factories import make_job, make_user
from tests.fakes.provider import World


def submitted(world: World, **fields: object) -> tuple[Job, Attempt]:
    job = make_job(make_user(), start=True, **fields)
    submission.submit(job.pk)
    job.refresh_from_db()
    return job, job.attempts.order_by("-n")[0]


def look(job: Job) -> Job:
    Job.objects.active().filter(pk=job.pk).update(next_check_at=Now())
    observation.poll(job.pk)
    job.refresh_from_db()
    return job


def shift(attempt: Attempt, **ago: timedelta) -> None:
    """Move times of an attempt into the past."""
    Attempt.objects.filter(pk=attempt.pk).update(**{name: Now() - delta for name, delta in ago.items()})


def program_says(attempt: Attempt, outcome: str, reason: str = "", message: str = "") -> None:
    Attempt.objects.filter(pk=attempt.pk).update(
        outcome=outcome, outcome_reason=reason, outcome_at=Now(), error_message=message
    )
