"""Leases, by the database's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from pipeline.leases import LEASE, LeaseLost, claim, claim_due, fenced, release
from pipeline.models import Job
from pipeline.states import JobStatus
from tests.factories import make_running_job, make_user
from tests.fakes.provider import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(world: World) -> Job:
    return make_running_job(make_user())[0]


def test_a_lease_is_held_by_one(job: Job) -> None:
    first = claim(job.pk, JobStatus.RUNNING)
    assert first is not None
    assert claim(job.pk, JobStatus.RUNNING) is None
    release(job.pk, first)
    assert claim(job.pk, JobStatus.RUNNING) is not None


def test_a_lease_that_ran_out_may_be_taken_and_its_holder_can_no_longer_write(job: Job) -> None:
    old = claim(job.pk, JobStatus.RUNNING)
    assert old is not None
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - timedelta(seconds=1))
    new = claim(job.pk, JobStatus.RUNNING)
    assert new is not None
    with pytest.raises(LeaseLost), fenced(job.pk, old):
        pass
    release(job.pk, old, next_check_in=1000)
    with fenced(job.pk, new) as held:
        assert held.next_check_at < timezone.now()


def test_many_jobs_cost_as_many_queries_as_one(job: Job, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(20):
        make_running_job(job.owner)
    with django_assert_num_queries(4):  # two of them open and close the savepoint
        leases = claim_due(100, JobStatus.RUNNING)
    assert len(leases) == 21
    assert claim_due(100, JobStatus.RUNNING) == {}


def test_release_says_when_to_look_again(job: Job) -> None:
    lease = claim(job.pk, JobStatus.RUNNING)
    assert lease is not None
    release(job.pk, lease, next_check_in=30)
    job.refresh_from_db()
    assert timezone.now() + timedelta(seconds=25) < job.next_check_at < timezone.now() + timedelta(seconds=35)
    assert (job.lease_token, job.lease_until) == (None, None)


def test_who_wanted_an_earlier_look_meanwhile_gets_it(job: Job) -> None:
    """A program's last word may arrive while a poll, which has not heard it, is about to plan its next look."""
    lease = claim(job.pk, JobStatus.RUNNING)
    assert lease is not None
    # Everything in a test happens in one transaction, at one database time: the claim is moved a little into the past.
    Job.objects.filter(pk=job.pk).update(lease_until=Now() + LEASE - timedelta(seconds=5), next_check_at=Now())
    release(job.pk, lease, next_check_in=30)
    job.refresh_from_db()
    assert job.next_check_at < timezone.now() + timedelta(seconds=1)
