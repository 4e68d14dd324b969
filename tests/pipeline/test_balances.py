"""Accounts that run empty: told once, saved before, and nothing started that they cannot carry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from notifications.models import Notification
from notifications.services import deliver_pending
from pipeline import balances
from pipeline.models import Attempt, Credential, Job, JobEvent
from pipeline.providers.base import AuthError, Balance, Unavailable
from pipeline.services import submission
from tests.factories import make_job, make_running_job, make_user
from tests.fakes.prepaid import PrepaidProvider, make_credential
from tests.fakes.provider import World

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def prepaid(settings: Any, world: World) -> Iterator[None]:
    settings.STOKER_PROVIDERS = {"prepaid": "tests.fakes.prepaid.PrepaidProvider"}
    PrepaidProvider.reset()
    yield
    PrepaidProvider.reset()


def running(credential: Credential, price: str = "2") -> Job:
    job, attempt, _ = make_running_job(credential.owner, provider="prepaid", price_per_hour=D(price))
    Attempt.objects.filter(pk=attempt.pk).update(credential=credential, price_per_hour=D(price))
    return job


def told(job: Job) -> list[str]:
    events = JobEvent.objects.filter(job=job, kind="warning").order_by("seq")
    return [event.data["what"] for event in events]


def check(minutes: int = 0) -> int:
    return balances.check_due(timezone.now() + timedelta(minutes=minutes))


def test_the_balance_is_kept_and_asked_for_every_five_minutes() -> None:
    credential = make_credential(make_user())
    running(credential)
    PrepaidProvider.left = Balance(D("12.5"), D(2))
    assert [check(0), check(1), check(5)] == [1, 0, 1]
    credential.refresh_from_db()
    assert (credential.balance, credential.spend_per_hour) == (D("12.5"), D(2))


def test_an_account_in_which_nothing_runs_is_not_asked() -> None:
    credential = make_credential(make_user())
    job = running(credential)
    Attempt.objects.update(state="gone", gone_at=timezone.now(), gone_evidence="x", reason="completed")
    assert check() == 0
    assert told(job) == []


def test_less_than_an_hour_is_told_once_and_saves_a_checkpoint() -> None:
    credential = make_credential(make_user())
    jobs = [running(credential), running(credential)]
    PrepaidProvider.left = Balance(D("3.90"), D(0))  # the provider counts nothing yet; our machines cost 4 an hour
    for minutes in (0, 5, 10):
        check(minutes)
    for job in jobs:
        job.refresh_from_db()
        assert told(job) == ["low_balance"]
        assert job.save_requested_at is not None
    deliver_pending()
    (notification,) = Notification.objects.filter(type="budget_alert")
    assert notification.owner == credential.owner
    assert notification.priority == "high"
    assert "$3.90 left: about 58 minutes" in notification.message


def test_money_that_was_paid_in_arms_the_warning_again() -> None:
    credential = make_credential(make_user())
    job = running(credential)
    for minutes, left in ((0, "1"), (5, "50"), (10, "50"), (15, "1.5")):
        PrepaidProvider.left = Balance(D(left), D(2))
        check(minutes)
    assert told(job) == ["low_balance", "enough_balance", "low_balance"]


@pytest.mark.parametrize("answer", [None, Unavailable("Timeout."), AuthError("Refused the key.")])
def test_what_is_unknown_warns_of_nothing_and_blocks_nothing(answer: Any, world: World) -> None:
    credential = make_credential(make_user())
    job = running(credential)
    PrepaidProvider.left = answer
    check()
    assert "low_balance" not in told(job)
    fresh = make_job(credential.owner, provider="prepaid", start=True)
    submission.submit(fresh.pk)
    fresh.refresh_from_db()
    assert fresh.status == "initializing"


class TestSubmission:
    def submit(self, **known: Any) -> Job:
        credential = make_credential(make_user(), **known)
        job = make_job(credential.owner, provider="prepaid", start=True)
        submission.submit(job.pk)
        job.refresh_from_db()
        return job

    def test_too_little_money_fails_before_anything_is_asked_for(self, world: World) -> None:
        PrepaidProvider.left = Balance(D("3.59"), D(0))
        job = self.submit()
        assert (job.status, job.reason) == ("failed", "no_funds")
        assert job.error_message == (
            "The account at Prepaid has $3.59 left, and this machine costs $3.60 an hour. "
            "Add funds for at least an hour and start the job again."
        )
        assert world.count("create") == 0
        assert not job.attempts.exists()

    def test_an_hour_is_enough(self, world: World) -> None:
        PrepaidProvider.left = Balance(D("3.60"), D(0))
        assert self.submit().status == "initializing"

    def test_what_was_too_little_before_is_asked_for_again(self, world: World) -> None:
        PrepaidProvider.left = Balance(D(20), D(0))
        assert self.submit(balance=D("0.10"), balance_at=timezone.now()).status == "initializing"

    def test_a_fresh_balance_is_not_asked_for_again(self, world: World) -> None:
        assert self.submit(balance=D(20), balance_at=timezone.now()).status == "initializing"
        assert PrepaidProvider.asked == []
