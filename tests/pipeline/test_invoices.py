"""Bills of machines that are gone: asked for at the right times, kept apart, and told of when they differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.utils import timezone

from pipeline import invoices
from pipeline.models import Attempt, CostRecord, JobEvent
from pipeline.providers.base import AuthError, Unavailable
from tests.factories import make_running_job, make_user
from tests.fakes.prepaid import PrepaidProvider, make_credential

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.fixture(autouse=True)
def prepaid(settings: Any) -> Iterator[None]:
    settings.STOKER_PROVIDERS = {"prepaid": "tests.fakes.prepaid.PrepaidProvider"}
    PrepaidProvider.reset()
    yield
    PrepaidProvider.reset()


def gone(ago: timedelta, metered: str = "1.00", owner: Any = None, **fields: Any) -> Attempt:
    """An attempt whose machine has been gone for so long and was metered at `metered`."""
    owner = owner or make_user()
    credential = owner.credentials.first() or make_credential(owner)
    job, attempt, _ = make_running_job(owner, provider="prepaid", current_cost=D(metered))
    end = timezone.now() - ago
    Attempt.objects.filter(pk=attempt.pk).update(
        state="gone", gone_at=end, gone_evidence="Gone.", reason="completed", credential=credential, **fields
    )
    CostRecord.objects.create(
        owner=owner, provider="prepaid", job=job, attempt=attempt, seconds=3600, price_per_hour=D(metered),
        period_start=end - timedelta(hours=1), period_end=end, amount=D(metered),
    )  # fmt: skip
    attempt.refresh_from_db()
    return attempt


def drifts(attempt: Attempt) -> list[JobEvent]:
    return list(JobEvent.objects.filter(job=attempt.job_id, kind="warning", data__what="invoice_drift"))


def asked_at(attempt: Attempt, until: timedelta) -> list[float]:
    """The hours after the end at which its bill is asked for, with a check every five minutes."""
    assert attempt.gone_at
    hours, after = [], timedelta(0)
    while after <= until:
        before = len(PrepaidProvider.asked)
        invoices.check_due(attempt.gone_at + after)
        if len(PrepaidProvider.asked) > before:
            hours.append(round(after / timedelta(hours=1), 2))
        after += timedelta(minutes=5)
    return hours


def test_when_a_bill_is_asked_for() -> None:
    hours = asked_at(gone(timedelta(0)), timedelta(hours=60))
    assert hours[0] == 0.17, "ten minutes after the end"
    assert hours[1:7] == [1.17, 2.17, 3.17, 4.17, 5.17, 11.17]
    assert hours[-1] == 48
    assert all(later - earlier <= 6.01 for earlier, later in pairwise(hours))
    attempt = Attempt.objects.get()
    assert (attempt.invoice_settled, attempt.invoiced) == (True, None)


def test_a_bill_is_one_record_that_follows_the_provider() -> None:
    attempt = gone(timedelta(minutes=11))
    PrepaidProvider.bills[attempt.external_id] = D("0.70")
    assert invoices.check_due() == 1
    PrepaidProvider.bills[attempt.external_id] = D("1.02")
    assert invoices.check_due() == 0, "not due again"
    assert invoices.check_due(timezone.now() + timedelta(hours=1)) == 1
    attempt.refresh_from_db()
    record = CostRecord.objects.get(kind="invoiced")
    assert (attempt.invoiced, record.amount, record.seconds) == (D("1.02"), D("1.02"), 3600)
    assert (record.owner_id, record.provider, record.job_id) == (attempt.job.owner_id, "prepaid", attempt.job_id)
    bill = invoices.compared(attempt.job)
    assert (bill.metered, bill.invoiced, bill.drift, bill.settled) == (D(1), D("1.02"), D("0.02"), False)
    attempt.job.refresh_from_db()
    assert attempt.job.current_cost == 1, "budgets go by the meter"


@pytest.mark.parametrize(
    ("metered", "billed", "ago", "told"),
    [
        ("1.00", "1.05", 1, False),  # no more than 0.10
        ("10.00", "10.40", 1, False),  # no more than 5 per cent
        ("10.00", "10.60", 1, True),
        ("1.00", "1.11", 1, True),
        ("1.00", "0.50", 1, False),  # the bill is not complete yet
        ("1.00", "0.50", 49, True),
        ("0.00", "0.20", 1, True),
    ],
)
def test_drift_is_told_when_it_matters(metered: str, billed: str, ago: int, told: bool) -> None:
    attempt = gone(timedelta(hours=ago), metered)
    PrepaidProvider.bills[attempt.external_id] = D(billed)
    invoices.check_due()
    assert bool(drifts(attempt)) is told


def test_drift_is_told_once() -> None:
    attempt = gone(timedelta(minutes=11))
    for hour, bill in enumerate(("1.50", "1.60", "1.70")):
        PrepaidProvider.bills[attempt.external_id] = D(bill)
        assert invoices.check_due(timezone.now() + timedelta(hours=hour)) == 1
    (event,) = drifts(attempt)
    assert event.message == "The provider charged $1.50 for this machine; $1.00 were metered (+$0.50)."


def test_errors_are_harmless_and_asked_again() -> None:
    owner = make_user()
    one, other = gone(timedelta(minutes=12), owner=owner), gone(timedelta(minutes=11), owner=owner)
    PrepaidProvider.bills = {one.external_id: Unavailable("Timeout."), other.external_id: D(1)}
    assert invoices.check_due() == 1, "the others of the account are asked for all the same"
    one.refresh_from_db()
    assert (one.invoiced, one.invoice_settled) == (None, False)
    PrepaidProvider.bills[one.external_id] = D(1)
    assert invoices.check_due(timezone.now() + timedelta(hours=1)) == 2


def test_a_refused_key_is_asked_no_further_in_this_round() -> None:
    owner = make_user()
    for minutes in (13, 12, 11):
        PrepaidProvider.bills[gone(timedelta(minutes=minutes), owner=owner).external_id] = AuthError("Refused the key.")
    other = gone(timedelta(minutes=11))
    PrepaidProvider.bills[other.external_id] = D(1)
    assert invoices.check_due() == 1
    assert len(PrepaidProvider.asked) == 2
    assert owner.credentials.get().problem == "Refused the key."


def test_without_an_answer_it_is_given_up_at_last() -> None:
    attempt = gone(timedelta(days=15))
    PrepaidProvider.bills[attempt.external_id] = Unavailable("Timeout.")
    invoices.check_due()
    attempt.refresh_from_db()
    assert attempt.invoice_settled


def test_what_never_existed_or_lives_or_has_no_bill_is_not_asked_for(settings: Any) -> None:
    gone(timedelta(hours=1), external_id="")
    job, *_ = make_running_job(make_user(), provider="prepaid")
    attempt = gone(timedelta(hours=1))
    Attempt.objects.filter(pk=attempt.pk).update(state="never_created")
    settings.STOKER_PROVIDERS |= {"scripted": "tests.fakes.provider.ScriptedProvider"}
    attempt = gone(timedelta(hours=1))
    Attempt.objects.filter(pk=attempt.pk).update(provider="scripted")
    assert invoices.check_due() == 0
    assert PrepaidProvider.asked == []
    assert invoices.compared(job).drift is None


def test_a_machine_whose_account_was_removed() -> None:
    attempt = gone(timedelta(hours=1))
    Attempt.objects.filter(pk=attempt.pk).update(credential=None)
    assert invoices.check_due() == 0
    attempt.refresh_from_db()
    assert isinstance(attempt.invoice_checked_at, datetime)
