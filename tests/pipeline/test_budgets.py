"""Limits while jobs run: told at 80 and 90 per cent, stopped at 100, and changed only as far as the month allows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from notifications.models import Notification
from notifications.services import deliver_pending
from pipeline import budgets, holds, limits
from pipeline.decide import Traits, decide
from pipeline.models import Attempt, Budget, CostRecord, EventType, Job, JobEvent
from pipeline.providers.base import Machine, MachineState, Unavailable
from pipeline.services import observation
from pipeline.services.errors import Conflict, InvalidInput
from pipeline.services.facts import view_of
from pipeline.services.jobs import request_cancel
from pipeline.states import EndReason
from tests.factories import make_job, make_running_job, make_user
from tests.fakes.provider import World
from tests.pipeline.steps import look, program_says, shift, submitted

pytestmark = pytest.mark.django_db
D = Decimal
START = datetime(2026, 3, 10, 12, tzinfo=UTC)
PRICE = D("3.60")  # a tenth of a cent a second


def running(limit: str | None = "1.00", owner: Any = None, **fields: Any) -> Job:
    """A job whose machine has cost money since START."""
    fields = {"budget_limit": limit and D(limit), "cost_limit": limit and D(limit), "price_per_hour": PRICE} | fields
    job, attempt, _ = make_running_job(owner or make_user(), **fields)
    Attempt.objects.filter(pk=attempt.pk).update(metered_until=START, price_per_hour=fields["price_per_hour"])
    return job


def at(seconds: float) -> int:
    return budgets.enforce_due(START + timedelta(seconds=seconds))


def told(job: Job, scope: str = "job") -> list[int]:
    events = JobEvent.objects.filter(job=job, kind=EventType.BUDGET, data__scope=scope).order_by("seq")
    return [event.data["percent"] for event in events if "percent" in event.data]


@pytest.mark.parametrize(
    ("spent", "limit", "level"),
    [
        ("0", "1", 0), ("0.799999", "1", 0), ("0.8", "1", 80), ("0.899999", "1", 80), ("0.9", "1", 90),
        ("0.999999", "1", 90), ("1", "1", 100), ("7", "1", 100), ("0", "0", 100),
    ],
)  # fmt: skip
def test_levels(spent: str, limit: str, level: int) -> None:
    assert budgets.level_of(D(spent), D(limit)) == level


class TestWatch:
    def test_each_level_is_told_once_and_the_last_one_stops(self) -> None:
        job = running()
        done = [at(seconds) for seconds in range(0, 1200, 15)]
        job.refresh_from_db()
        assert told(job) == [80, 90, 100]
        assert [number * 15 for number, one in enumerate(done) if one] == [810, 900, 1005]
        assert (job.status, job.stop_reason) == ("cancelling", EndReason.BUDGET_EXCEEDED)

    def test_at_ninety_the_newest_state_is_saved(self) -> None:
        job = running()
        at(850)
        job.refresh_from_db()
        assert job.save_requested_at is None
        at(910)
        job.refresh_from_db()
        assert job.save_requested_at is not None

    def test_the_event_says_what_is_spent_and_what_it_will_cost(self) -> None:
        job = running(eta_seconds=1000.0)
        at(800)
        event = JobEvent.objects.get(job=job, kind=EventType.BUDGET)
        assert event.message == (
            "80 % of the budget is used: $0.80 of $1.00. At this pace it will have cost $1.80 at its end."
        )
        assert event.data == {
            "scope": "job", "percent": 80, "spent": "0.800000", "limit": "1.000000", "projected": "1.800000",
        }  # fmt: skip

    def test_a_jump_over_levels_is_told_as_the_highest(self) -> None:
        job = running()
        at(2000)
        assert told(job) == [100]

    def test_a_limit_that_is_no_budget_is_not_called_one(self) -> None:
        job = running(budget_limit=None)
        at(800)
        assert JobEvent.objects.get(job=job, kind=EventType.BUDGET).message.startswith("80 % of what this job may cost")

    def test_earlier_attempts_count(self) -> None:
        job = running(current_cost=D("0.75"))
        at(60)
        assert told(job) == [80]

    def test_a_job_that_waits_for_its_next_attempt_is_stopped_too(self) -> None:
        job = running(current_cost=D("1.00"), status="queued")
        Attempt.objects.update(state="gone", gone_at=START, gone_evidence="x", reason="preempted")
        at(0)
        job.refresh_from_db()
        assert job.status == "cancelling"

    def test_the_stop_is_ordered_again_when_it_was_told_and_not_done(self) -> None:
        job = running(budget_told=100)
        at(1000)
        job.refresh_from_db()
        assert (told(job), job.status) == ([], "cancelling")

    def test_a_job_that_has_just_finished_is_left_alone(self) -> None:
        job = running()
        program_says(job.attempts.get(), "completed")
        assert at(1000) == 1
        assert at(1015) == 0
        job.refresh_from_db()
        assert job.status == "running"

    def test_it_works_while_the_provider_does_not_answer(self, world: World) -> None:
        job, attempt = submitted(world, budget_limit=D("1.00"))
        world.look_error = Unavailable("Down.")
        world.stop_error = Unavailable("Down.")
        shift(attempt, metered_until=timedelta(seconds=1001))
        assert budgets.enforce_due() == 1
        job.refresh_from_db()
        assert job.status == "cancelling"

    def test_many_live_jobs_below_their_limits_cost_two_queries(self, django_assert_num_queries: Any) -> None:
        owner = make_user()
        for _ in range(10):
            running(owner=owner)
        with django_assert_num_queries(2):
            assert at(10) == 0

    def test_one_that_cannot_be_looked_after_does_not_hold_up_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first, other = sorted((running(), running()), key=lambda job: job.pk)
        record = budgets.record_event

        def breaks(job_id: Any, *arguments: Any, **named: Any) -> Any:
            if job_id == first.pk:
                raise RuntimeError("broken")
            return record(job_id, *arguments, **named)

        monkeypatch.setattr(budgets, "record_event", breaks)
        at(800)
        assert (told(first), told(other)) == ([], [80])
        monkeypatch.undo()
        at(815)
        assert told(first) == [80]


@pytest.mark.parametrize("offset", range(0, 15, 3))
def test_spend_stays_within_the_bound(offset: int) -> None:
    """Second by second, on the longest way: a provider whose stop kills, and a program that talks to the end."""
    job = running()
    attempt = job.attempts.get()
    traits = Traits(runs_program=True, stop_is_graceful=False, poll_seconds=15, contact_seconds=600)
    machine = Machine(attempt.name, attempt.external_id, MachineState.RUNNING)
    stop_wanted: datetime | None = None
    next_look = START
    for second in range(2000):
        now = START + timedelta(seconds=second)
        if second % 15 == offset:
            budgets.enforce_due(now)
            job.refresh_from_db()
        if job.desired == "stop" and stop_wanted is None:
            stop_wanted = next_look = now  # the stop wakes a look
        if now >= next_look:
            view = replace(
                view_of(job, attempt), stop_requested_at=stop_wanted, last_seen_at=now, first_contact_at=START
            )
            decision = decide(view, machine, now, traits)
            next_look = now + timedelta(seconds=decision.next_in)
            if decision.send_stop:
                break
    else:
        pytest.fail("It was never stopped.")
    spent = D(second) * PRICE / 3600
    assert D("1.00") <= spent <= D("1.00") + 90 * PRICE / 3600


class TestProgramsOwnLimit:
    def test_the_time_it_may_run_is_what_its_money_buys(self) -> None:
        job = running(current_cost=D("0.40"))
        attempt = job.attempts.get()
        Attempt.objects.update(metered_until=timezone.now() - timedelta(seconds=100))
        attempt.refresh_from_db()
        assert 498 <= limits.seconds_granted(job, attempt) <= 500, "0.60 at 0.001 a second, less what runs up"

    @pytest.mark.parametrize(("cost", "reason"), [("0.95", "budget_exceeded"), ("0.50", "deadline_exceeded")])
    def test_a_run_that_ended_itself_is_told_from_one_that_ran_out_of_time(
        self, world: World, cost: str, reason: str
    ) -> None:
        job, attempt = submitted(world, budget_limit=D("1.00"))
        Job.objects.filter(pk=job.pk).update(current_cost=D(cost))
        program_says(attempt, "failed", "deadline_exceeded")
        world.end(attempt.name, 0)
        look(job)
        assert (job.status, job.reason) == ("cancelled", reason)


class TestMonth:
    def limited(self, limit: str, *jobs: Job) -> Budget:
        return Budget.objects.create(owner=jobs[0].owner, monthly_limit=D(limit))

    def test_told_once_a_level_on_the_job_that_costs_most_and_then_all_that_cost_are_stopped(self) -> None:
        owner = make_user()
        dear, cheap = running(None, owner), running(None, owner, price_per_hour=D("0.36"))
        free = running(None, owner, price_per_hour=D(0))
        self.limited("1.10", dear)
        for seconds in range(0, 1200, 15):
            at(seconds)
        assert told(dear, "month") == [80, 90, 100]
        assert told(cheap, "month") == []
        statuses = [Job.objects.get(pk=job.pk).status for job in (dear, cheap, free)]
        assert statuses == ["cancelling", "cancelling", "running"]

    def test_what_ended_jobs_have_cost_counts_and_a_new_month_begins_anew(self) -> None:
        job = running(None)
        self.limited("1.00", job)
        CostRecord.objects.create(
            owner=job.owner, provider="scripted", period_start=START - timedelta(hours=1), period_end=START, seconds=1,
            price_per_hour=1, amount=D("0.80"),
        )  # fmt: skip
        at(1)
        assert told(job, "month") == [80]
        Attempt.objects.update(metered_until=datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC))
        budgets.enforce_due(datetime(2026, 4, 1, 0, 1, tzinfo=UTC))
        assert told(job, "month") == [80]
        budgets.enforce_due(datetime(2026, 4, 1, 0, 14, tzinfo=UTC))
        assert told(job, "month") == [80, 80]

    def test_a_lowered_limit_stops_what_is_above_it_only_when_that_is_meant(self) -> None:
        job = running(None)
        Attempt.objects.update(metered_until=timezone.now() - timedelta(hours=1))
        with pytest.raises(Conflict, match=r"\$3.60 are spent in this month already"):
            budgets.set_monthly_limit(job.owner, D(2))
        budgets.set_monthly_limit(job.owner, D(2), even_if_spent=True)
        budgets.enforce_due()
        job.refresh_from_db()
        assert job.status == "cancelling"


class TestChange:
    def test_a_higher_budget_arms_the_alerts_again(self) -> None:
        job = running()
        Attempt.objects.update(metered_until=timezone.now())
        at(0)
        Job.objects.filter(pk=job.pk).update(budget_told=90)
        budgets.change_budget(job.pk, {"budget_limit": D(5)}, actor="ada")
        job.refresh_from_db()
        assert (job.budget_limit, job.cost_limit, job.budget_told) == (5, 5, 0)
        event = JobEvent.objects.get(job=job, kind=EventType.BUDGET)
        assert (event.message, event.actor) == ("New limits: a budget of $5.00, at most 24 h.", "ada")

    def test_it_holds_no_more_than_the_month_leaves(self) -> None:
        owner = make_user()
        job, _ = running("1.00", owner), running("2.00", owner)
        Attempt.objects.update(metered_until=None)
        Budget.objects.create(owner=owner, monthly_limit=D(4))
        budgets.change_budget(job.pk, {"budget_limit": D(2)})
        with pytest.raises(Conflict, match=r"this month leaves \$2.00"):
            budgets.change_budget(job.pk, {"budget_limit": D("2.01")})
        job.refresh_from_db()
        assert job.cost_limit == 2

    def test_less_is_welcome_in_a_month_that_is_over_its_limit(self) -> None:
        job = running("2.00")
        Attempt.objects.update(metered_until=None)
        Budget.objects.create(owner=job.owner, monthly_limit=D(1))
        budgets.change_budget(job.pk, {"budget_limit": D("1.50")})
        assert holds.month_of(job.owner_id).held == D("1.50")

    def test_less_than_it_has_cost_is_refused(self) -> None:
        job = running(current_cost=D("0.50"))
        Attempt.objects.update(metered_until=None)
        with pytest.raises(InvalidInput, match=r"already cost \$0.50"):
            budgets.change_budget(job.pk, {"budget_limit": D("0.50")})

    @pytest.mark.parametrize(
        ("changes", "field"), [({"budget_limit": D(0)}, "budget_limit"), ({"max_duration": 59}, "max_duration")]
    )
    def test_values_that_cannot_be(self, changes: Any, field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            budgets.change_budget(running().pk, changes)
        assert [error.field for error in caught.value.errors] == [field]

    def test_a_job_that_stops_has_no_limits_to_change(self) -> None:
        job = running()
        request_cancel(job.pk)
        with pytest.raises(Conflict, match="ended or is stopping"):
            budgets.change_budget(job.pk, {"budget_limit": D(5)})

    def test_a_saved_job_holds_nothing_yet(self, world: World) -> None:
        job = make_job(make_user())
        budgets.change_budget(job.pk, {"budget_limit": D(5)})
        job.refresh_from_db()
        assert (job.budget_limit, job.cost_limit) == (5, None)


def test_notifications_have_the_weight_of_their_level() -> None:
    job = running()
    Job.objects.filter(pk=job.pk).update(name="tune")
    for seconds in (800, 900, 1000):
        at(seconds)
    deliver_pending()
    rows = Notification.objects.filter(type="budget_alert").order_by("metadata__event_seq")
    assert [(row.title, row.priority) for row in rows] == [
        ("tune has used 80 % of its budget", "normal"),
        ("tune has used 90 % of its budget", "high"),
        ("tune has reached its budget", "high"),
    ]
    assert rows[0].metadata["limit"] == "1.000000"
    assert rows[0].job == job


def test_the_whole_way_from_a_budget_to_a_cancelled_job(world: World) -> None:
    job, attempt = submitted(world, budget_limit=D("1.00"))
    shift(attempt, metered_until=timedelta(seconds=1005))
    budgets.enforce_due()
    observation.resync([job.pk])
    look(job)
    assert (job.status, job.reason) == ("cancelled", EndReason.BUDGET_EXCEEDED)
    assert job.final_cost is not None
    assert D("1.005") <= job.final_cost < D("1.05")
    assert world.alive == []
