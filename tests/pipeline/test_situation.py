"""What the top of a job's page says while something is not in order."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from pipeline.holds import month_around
from pipeline.models import Attempt, Budget, Credential, EventType, Job, ProviderCall
from pipeline.situation import SOON, Note, situation
from pipeline.states import JobStatus
from pipeline.transitions import record_event
from tests.conftest import Person
from tests.factories import make_running_job


@pytest.fixture
def job(owner: Person) -> Job:
    return make_running_job(owner.user)[0]


def change(job: Job, attempt: dict[str, Any] | None = None, **fields: Any) -> None:
    Job.objects.filter(pk=job.pk).update(**fields)
    job.refresh_from_db()
    if attempt:
        Attempt.objects.filter(job=job).update(**attempt)


def only(job: Job) -> Note:
    (note,) = situation(job)
    return note


def order(job: Job, outcome: str, detail: str = "") -> None:
    ProviderCall.objects.create(attempt=job.attempts.get(), op="stop", outcome=outcome, detail=detail)


def test_a_job_in_good_order_has_nothing_to_say(job):
    assert situation(job) == []


def test_a_stop_that_works_at_once_is_no_news(job):
    change(job, {"stop_sent_at": timezone.now()}, current_stage="stopping")
    order(job, "ok")
    assert situation(job) == []


def test_a_machine_that_does_not_go_is_told_with_every_order(job):
    change(job, {"stop_sent_at": timezone.now() - timedelta(seconds=40), "price_per_hour": 2}, current_stage="stopping")
    order(job, "ok")
    order(job, "unknown", "RunPod answered 503.")
    note = only(job)
    assert (note.level, note.title) == ("warning", "Stopping: the machine is still there and billed")
    assert note.text == (
        "Its end was ordered twice; last answer: RunPod answered 503. The order is repeated until it is gone."
    )
    change(job, {"stop_alerted_at": timezone.now(), "external_id": "pod-9"})
    assert only(job).level == "error"
    assert "pod-9" in only(job).text


def test_a_machine_that_costs_nothing_is_not_called_billed(job):
    change(job, {"stop_sent_at": timezone.now() - timedelta(minutes=1), "price_per_hour": 0})
    order(job, "pending")
    assert only(job).title == "Stopping: the machine is still there"
    assert "ordered once; last answer: no answer yet" in only(job).text


def test_an_operator_is_named_where_nothing_can_be_looked_up(job):
    change(job, {"state": "intent"}, current_stage="create_unknown", status=JobStatus.INITIALIZING)
    assert only(job).title == "Unclear whether a machine exists: an operator must settle it"
    assert job.attempts.get().name in only(job).text


def test_a_lost_answer_that_can_be_looked_up_asks_nobody(job):
    change(job, {"state": "intent"}, current_stage="submitting", status=JobStatus.INITIALIZING)
    ProviderCall.objects.create(attempt=job.attempts.get(), op="create", outcome="unknown")
    assert (only(job).level, only(job).title) == ("warning", "Unclear whether a machine exists")


def test_waiting_to_retry_says_the_cause_and_the_moment(job):
    due = timezone.now() + timedelta(seconds=30)
    gone = {"state": "gone", "reason": "preempted", "gone_at": timezone.now(), "gone_evidence": "x"}
    change(job, gone, status=JobStatus.QUEUED, current_stage="waiting_to_retry", next_check_at=due)
    record_event(job.pk, EventType.STATUS, "Trying again.", data={"to": "queued", "cause": "preempted"})
    note = only(job)
    assert note.title == "Waiting to try again: attempt 2 of at most 3"
    assert note.text == "The provider took the machine away before training finished."
    assert note.until == due


def test_an_account_that_is_refused_leads_to_the_settings(job, owner):
    credential = Credential.objects.create(owner=owner.user, provider="scripted", secret=b"", problem="Key refused.")
    change(job, {"credential": credential})
    note = only(job)
    assert (note.level, note.action) == ("error", "settings")
    assert note.text.startswith("Key refused. Nothing is concluded about the machine")


@pytest.mark.parametrize(("spent", "title"), [("0.79", None), ("0.80", "80 %"), ("0.91", "90 %"), ("1", "100 %")])
def test_a_budget_is_told_from_80_per_cent(job, spent, title):
    change(job, cost_limit=1, budget_limit=1, current_cost=Decimal(spent))
    assert [note.title[: len(title or "")] for note in situation(job)] == ([title] if title else [])


def test_the_month_is_told_when_its_owner_was(job, owner):
    month = month_around(timezone.now())[0].date()
    Budget.objects.create(owner=owner.user, monthly_limit=50, told_month=month, told=90)
    assert only(job).title == "90 % of this month's limit is used"


def test_the_gravest_note_comes_first(job, owner):
    credential = Credential.objects.create(owner=owner.user, provider="scripted", secret=b"", problem="Key refused.")
    change(job, {"credential": credential}, cost_limit=1, current_cost=Decimal("0.85"))
    assert [note.level for note in situation(job)] == ["error", "warning"]


def test_an_ended_job_is_past_all_that(job):
    change(
        job, {"stop_sent_at": timezone.now() - SOON}, status=JobStatus.CANCELLED, completed_at=timezone.now(),
        final_cost=1, reason="cancelled_by_user", next_check_at=None,
    )  # fmt: skip
    assert situation(job) == []
