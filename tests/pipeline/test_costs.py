"""Machine time to money: every second once, at the price of its time, and the sum is the job's cost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum

from pipeline import costs
from pipeline.models import Attempt, CostRecord, Job
from pipeline.providers.base import MachineState
from pipeline.services.jobs import delete_job, request_cancel
from pipeline.states import EndReason
from tests.factories import make_running_job, make_user
from tests.fakes.provider import World
from tests.pipeline.steps import look, shift, submitted

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "price", "amount"),
    [
        (3600, "3.60", "3.600000"),
        (1, "3.60", "0.001000"),
        (0.5, "0.0001", "0.000000"),
        (86400 * 14, "99.999999", "33599.999664"),
        (0, "5", "0.000000"),
    ],
)
def test_amounts_are_exact_to_the_millionth(seconds: float, price: str, amount: str) -> None:
    assert costs.amount_for(timedelta(seconds=seconds), Decimal(price)) == Decimal(amount)


@pytest.mark.parametrize(
    ("cost", "eta", "price", "projected"),
    [
        ("1", None, "2", None),
        ("1", 1800.0, "2", "2"),
        ("1", 0.0, "2", "1"),
        ("1", -5.0, "2", "1"),
        ("0", 60.0, "0", "0"),
    ],
)
def test_projection(cost: str, eta: float | None, price: str, projected: str | None) -> None:
    expected = None if projected is None else Decimal(projected)
    assert costs.projection(Decimal(cost), eta, Decimal(price)) == expected


def _ledger_is_whole(job: Job, start: datetime, end: datetime) -> None:
    """No gap, no overlap, and the sum of the records is what the job says it cost."""
    job.refresh_from_db()
    records = list(job.cost_records.filter(kind="metered").order_by("period_start"))
    edges = [(record.period_start, record.period_end) for record in records]
    assert edges[0][0] == start
    assert edges[-1][1] == end
    assert [later[0] for later in edges[1:]] == [earlier[1] for earlier in edges[:-1]]
    assert sum(record.amount for record in records) == job.current_cost
    assert job.final_cost in (None, job.current_cost)
    seconds = sum(float(record.seconds) for record in records)  # each is stored to the millisecond
    assert abs(seconds - (end - start).total_seconds()) <= 0.0006 * len(records)


@pytest.fixture
def running(db: None) -> tuple[Job, Attempt]:
    job, attempt, _ = make_running_job(make_user(), price_per_hour=Decimal("3.60"))
    Attempt.objects.filter(pk=attempt.pk).update(metered_until=START, price_per_hour=Decimal("3.60"))
    attempt.refresh_from_db()
    return job, attempt


class TestMeter:
    def test_short_pieces_wait_and_none_is_lost(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        for second in range(5, 605, 5):
            costs.meter(attempt, START + timedelta(seconds=second))
        costs.meter(attempt, START + timedelta(seconds=607.5), final=True)
        assert job.cost_records.count() == 11
        _ledger_is_whole(job, START, START + timedelta(seconds=607.5))
        assert job.current_cost == Decimal("0.6075")

    def test_a_change_of_price_begins_a_piece(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        costs.meter(attempt, START + timedelta(seconds=20), price=Decimal("7.2"))
        costs.meter(attempt, START + timedelta(seconds=40), price=Decimal("7.2"))
        costs.meter(attempt, START + timedelta(seconds=50), final=True)
        pieces = job.cost_records.order_by("period_start").values_list("seconds", "price_per_hour", "amount")
        assert list(pieces) == [
            (Decimal(20), Decimal("3.6"), Decimal("0.02")), (Decimal(30), Decimal("7.2"), Decimal("0.06")),
        ]  # fmt: skip
        _ledger_is_whole(job, START, START + timedelta(seconds=50))

    def test_a_price_with_more_digits_than_are_stored_is_no_change(self, running: tuple[Job, Attempt]) -> None:
        _, attempt = running
        price = Decimal("3.60000000004")
        assert costs.meter(attempt, START + timedelta(seconds=20), price=price) == 0
        assert costs.meter(attempt, START + timedelta(seconds=30), price=Decimal(-4)) > 0
        attempt.refresh_from_db()
        assert attempt.price_per_hour == 0, "a provider that asks for less than nothing pays nobody"

    def test_time_that_runs_backwards_costs_nothing(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        assert costs.meter(attempt, START - timedelta(hours=1), final=True) == 0
        assert not job.cost_records.exists()


@pytest.mark.django_db
def test_a_run_from_creation_to_its_end_is_billed_once_and_whole(world: World) -> None:
    job, attempt = submitted(world)
    shift(attempt, metered_until=timedelta(minutes=10))
    attempt.refresh_from_db()
    began = attempt.metered_until
    look(job)
    world.change(attempt.name, price_per_hour=Decimal("1.80"))
    look(job)
    world.change(attempt.name, state=MachineState.EXITED, price_per_hour=Decimal(0))
    look(job)
    attempt.refresh_from_db()
    assert attempt.price_per_hour == Decimal("1.80"), "what is stopped and still there is not believed to be free"
    request_cancel(job.pk)
    world.end(attempt.name)
    look(job)
    job.refresh_from_db()
    assert job.has_ended
    last = job.cost_records.order_by("-period_end")[0]
    assert began is not None
    _ledger_is_whole(job, began, last.period_end)
    assert {record.owner_id for record in job.cost_records.all()} == {job.owner_id}
    assert {record.provider for record in job.cost_records.all()} == {"scripted"}


@pytest.mark.django_db
def test_a_machine_that_goes_missing_is_billed_until_it_counts_as_gone(world: World) -> None:
    job, attempt = submitted(world)
    world.hidden.add(attempt.name)
    shift(
        attempt,
        metered_until=timedelta(seconds=45),
        created_at=timedelta(minutes=20),
        machine_seen_at=timedelta(minutes=20),
    )
    look(job)
    shift(attempt, first_missed_at=timedelta(seconds=31))
    look(job)
    attempt.refresh_from_db()
    assert attempt.reason == EndReason.VANISHED
    seconds = attempt.cost_records.aggregate(total=Sum("seconds"))["total"]
    assert seconds >= 45


@pytest.mark.django_db
def test_records_outlive_their_job(world: World) -> None:
    job, attempt, _ = make_running_job(make_user(), price_per_hour=Decimal("3.60"))
    costs.meter(attempt, attempt.metered_until + timedelta(hours=1), final=True)
    owner = job.owner
    Job.objects.filter(pk=job.pk).update(
        status="failed", reason="training_error", completed_at=START, final_cost=0, next_check_at=None
    )
    delete_job(job.pk)
    record = CostRecord.objects.get(owner=owner)
    assert (record.job, record.attempt, record.provider) == (None, None, "scripted")


class TestRebuild:
    def command(self, *arguments: Any) -> str:
        out = StringIO()
        call_command("rebuild_costs", *arguments, stdout=out)
        return out.getvalue()

    def test_what_differs_is_shown_and_then_mended(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        costs.meter(attempt, START + timedelta(hours=1), final=True)
        other, _, _ = make_running_job(make_user())
        Job.objects.filter(pk=job.pk).update(current_cost=Decimal(9))
        shown = self.command("--dry-run")
        assert f"{job.pk}" in shown
        assert "says $9.000000; its records say $3.600000." in shown
        assert str(other.pk) not in shown
        job.refresh_from_db()
        assert job.current_cost == 9
        assert "1 job was set" in self.command()
        job.refresh_from_db()
        assert job.current_cost == Decimal("3.6")
        assert "0 jobs were set" in self.command()

    def test_final_cost_and_a_single_job(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        costs.meter(attempt, START + timedelta(hours=1), final=True)
        Job.objects.filter(pk=job.pk).update(
            status="failed", reason="training_error", completed_at=START, final_cost=1, next_check_at=None
        )
        assert "1 job was set" in self.command("--job", str(job.pk))
        job.refresh_from_db()
        assert job.final_cost == job.current_cost == Decimal("3.6")

    def test_a_job_that_is_not_there(self, db: None) -> None:
        with pytest.raises(CommandError, match="There is no job"):
            self.command("--job", "00000000-0000-0000-0000-000000000000")

    def test_an_invoice_is_no_part_of_the_cost(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        CostRecord.objects.create(
            owner=job.owner, job=job, attempt=attempt, kind="invoiced", period_start=START, period_end=START, seconds=0,
            price_per_hour=1, amount=5,
        )  # fmt: skip
        assert "0 jobs" in self.command("--dry-run")
