"""Leases: at most one process looks after a job at a time, and one that overslept can no longer write.

A lease is a random token in the job's row with an end by the database's clock. Work outside (calls to providers) is
done without any transaction; what it led to is written inside `fenced`, which refuses when the token was taken over.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, When
from django.db.models.functions import Least, Now

from pipeline import trail
from pipeline.models import Attempt, Job
from pipeline.providers.base import ProviderError
from pipeline.querysets import JobQuerySet
from pipeline.states import ACTIVE, ATTEMPT_CLOSED, JobStatus

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
AFTER_PROVIDER_ERROR = 15.0  # seconds until the next look
AFTER_MISTAKE = 60.0


class LeaseLost(Exception):
    """Somebody else looks after this job now; what the holder wanted to write is dropped."""


def claim(job_id: UUID, *statuses: JobStatus) -> UUID | None:
    """Take the lease of one job in one of `statuses`. None: it is taken, or the job is elsewhere."""
    token = uuid.uuid4()
    taken = Job.objects.filter(_free(), pk=job_id, status__in=statuses).update(
        lease_token=token, lease_until=Now() + LEASE
    )
    return token if taken else None


def claim_due(
    limit: int,
    *statuses: JobStatus,
    wanting_stop: bool | None = None,
    within: timedelta = timedelta(0),
    account: tuple[str, UUID | None] | None = None,
) -> dict[UUID, UUID]:
    """Take the leases of up to `limit` due jobs, as job id -> token. Rows another process is claiming are skipped.

    `within` takes those that are due so soon, too; with a negative one, only those overdue for so long. `account`, a
    provider and a credential, narrows to jobs with a machine there. With `wanting_stop` a job whose machine was told to
    end is left out: looks follow it from then on.
    """
    with transaction.atomic():
        rows = Job.objects.filter(_free(), status__in=statuses, next_check_at__lte=Now() + within)
        machines = Attempt.objects.filter(job=OuterRef("pk")).exclude(state__in=[one.value for one in ATTEMPT_CLOSED])
        if account is not None:
            rows = rows.filter(Exists(machines.filter(provider=account[0], credential=account[1])))
        if wanting_stop is not None:
            rows = rows.filter(desired="stop" if wanting_stop else "run")
        if wanting_stop:
            rows = rows.exclude(Exists(machines.filter(stop_sent_at__isnull=False)))
        ids = list(
            rows.order_by("-priority", "next_check_at")
            .select_for_update(skip_locked=True, of=("self",))
            .values_list("pk", flat=True)[:limit]
        )
        # One token for all of them: it tells this claim from every other, whichever job it is held with.
        token = uuid.uuid4()
        Job.objects.filter(pk__in=ids).update(lease_token=token, lease_until=Now() + LEASE)
    return dict.fromkeys(ids, token)


@contextmanager
def fenced(job_id: UUID, token: UUID) -> Iterator[Job]:
    """Open a transaction with the job's row locked. Raise LeaseLost when `token` is no longer its lease."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, lease_token=token).first()
        if job is None:
            raise LeaseLost(f"Job {job_id} is looked after by someone else.")
        yield job


@contextmanager
def looking_after(job_id: UUID, token: UUID) -> Iterator[None]:
    """Give the lease back in the end, and keep what goes wrong with one job from the others of the same cycle."""
    with trail.of_job(job_id):
        yield from _looking_after(job_id, token)


def _looking_after(job_id: UUID, token: UUID) -> Iterator[None]:
    try:
        yield
    except LeaseLost:
        logger.info("job %s: taken over by someone else", job_id)
    except ProviderError as error:
        logger.warning("job %s: %s", job_id, error)
        release(job_id, token, next_check_in=AFTER_PROVIDER_ERROR)
    except SoftTimeLimitExceeded:
        raise  # the whole task is to end, not this job's part of it
    except Exception:  # whatever it is, the job is looked at again and the others are not held up
        logger.exception("job %s: could not be looked after", job_id)
        release(job_id, token, next_check_in=AFTER_MISTAKE)
    finally:
        release(job_id, token)


def release(job_id: UUID, token: UUID, *, next_check_in: float | None = None) -> None:
    """Give the lease back; `next_check_in` seconds say when an active job must be looked at again.

    A time that somebody wrote since the claim stays when it is sooner: they know of something the holder does not.
    """
    _release(Job.objects.filter(pk=job_id, lease_token=token), next_check_in)


def release_all(job_ids: Iterable[UUID], tokens: Iterable[UUID], *, next_check_in: float) -> None:
    """Like `release`, for many jobs in one statement; those of them whose lease was taken over are left alone."""
    _release(Job.objects.filter(pk__in=list(job_ids), lease_token__in=set(tokens)), next_check_in)


def _release(jobs: JobQuerySet, next_check_in: float | None) -> None:
    fields: dict[str, Any] = {"lease_token": None, "lease_until": None}
    if next_check_in is not None:
        planned = Now() + timedelta(seconds=next_check_in)
        fields["next_check_at"] = Case(
            When(~Q(status__in=[status.value for status in ACTIVE]), then=F("next_check_at")),
            When(next_check_at__gt=F("lease_until") - LEASE, then=Least("next_check_at", planned)),
            default=planned,
        )
    jobs.update(**fields)


def _free() -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=Now())
