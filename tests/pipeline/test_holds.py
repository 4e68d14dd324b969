"""What a month leaves, and that nobody's jobs are promised the same dollar twice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from pipeline import holds
from pipeline.holds import Month, limit_for
from pipeline.models import Attempt, Budget, CostRecord, Job
from pipeline.services.errors import Conflict
from pipeline.services.jobs import start_job
from tests.factories import make_dataset, make_job, make_running_job, make_user
from tests.fakes.provider import World

D = Decimal


def month(limit: str | None, spent: str = "0", held: str = "0") -> Month:
    return Month(datetime(2026, 3, 1, tzinfo=UTC), None if limit is None else D(limit), D(spent), D(held), D(0))


@pytest.mark.parametrize(
    ("price", "seconds", "budget", "estimate", "of", "limit"),
    [
        ("3.6", 3600, None, None, month(None), None),  # nothing limits it
        ("3.6", 3600, "5", None, month(None), "5"),
        ("0", 3600, None, None, month("0"), None),  # a free machine costs no month anything
        ("0", 3600, "5", None, month("0"), "5"),
        ("3.6", 3600, "5", None, month("10", "3", "2"), "5"),  # exactly what is left
        ("3.6", 3600, None, None, month("100"), "5.4"),  # its longest duration, and half an hour of starting
        ("3.6", 3600, None, "2", month("10", "7"), "3"),  # what the month leaves
        ("3.6", 3600, None, "3", month("10", "7"), "3"),
    ],
)
def test_what_a_job_may_cost(
    price: str, seconds: int, budget: str | None, estimate: str | None, of: Month, limit: str | None
) -> None:
    found = limit_for(D(price), seconds, budget and D(budget), estimate and D(estimate), of)
    assert found == (None if limit is None else D(limit))


@pytest.mark.parametrize(
    ("budget", "estimate", "of", "says"),
    [
        ("5.01", None, month("10", "3", "2"), "This job may cost $5.01, but this month leaves $5.00"),
        (None, "3.01", month("10", "7"), "This job will probably cost $3.01"),
        (None, None, month("10", "9.8"), "Five minutes of this machine cost $0.30"),
        ("1", None, month("10", "12"), "this month leaves $0.00: $12.00 of $10.00 are spent"),
    ],
)
def test_a_refusal_says_the_numbers_and_what_to_do(
    budget: str | None, estimate: str | None, of: Month, says: str
) -> None:
    with pytest.raises(Conflict) as caught:
        limit_for(D("3.6"), 3600, budget and D(budget), estimate and D(estimate), of)
    assert caught.value.code == "over_monthly_limit"
    assert says in str(caught.value)
    assert "aise the monthly limit, or wait until a live job has ended." in str(caught.value)
    assert ("Give it a budget of at most" in str(caught.value)) is (of.left > 0)


@pytest.mark.parametrize(
    ("now", "start", "end"),
    [
        ("2026-03-15T12:00+00:00", "2026-03-01T00:00+00:00", "2026-04-01T00:00+00:00"),
        ("2026-12-31T23:59+00:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("2027-01-01T01:00+02:00", "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),  # still December in UTC
    ],
)
def test_months_are_calendar_months_in_utc(now: str, start: str, end: str) -> None:
    assert holds.month_around(datetime.fromisoformat(now)) == (
        datetime.fromisoformat(start),
        datetime.fromisoformat(end),
    )


class TestMonths:
    def test_spent_is_the_ledger_of_this_month_and_what_runs(self, db: None) -> None:
        now = datetime(2026, 3, 15, 12, tzinfo=UTC)
        job, attempt, _ = make_running_job(make_user(), price_per_hour=D("3.60"), cost_limit=D(10), current_cost=D(3))
        Attempt.objects.filter(pk=attempt.pk).update(
            metered_until=now - timedelta(minutes=10), price_per_hour=D("3.60")
        )
        for days, amount in ((20, "1.5"), (10, "0.5"), (0, "1")):  # the first of them is February's
            CostRecord.objects.create(
                owner=job.owner, job=job, attempt=attempt, period_start=now - timedelta(days=days, hours=1),
                period_end=now - timedelta(days=days), seconds=3600, price_per_hour=1, amount=D(amount),
            )  # fmt: skip
        make_running_job(make_user(), price_per_hour=D(5), cost_limit=D(50))  # somebody else's
        found = holds.month_of(job.owner_id, now)
        assert (found.spent, found.held, found.left) == (D("2.1"), D("6.4"), None)
        assert holds.month_of(job.owner_id, now, without=job.pk).held == 0

    def test_a_job_that_has_ended_holds_nothing(self, db: None) -> None:
        job, _, _ = make_running_job(make_user(), price_per_hour=D(1), cost_limit=D(10))
        Attempt.objects.update(price_per_hour=D(1))
        assert holds.month_of(job.owner_id).held > 9
        Job.objects.filter(pk=job.pk).update(
            status="failed", reason="training_error", completed_at=timezone.now(), final_cost=0, next_check_at=None
        )
        assert holds.month_of(job.owner_id).held == 0

    def test_a_live_job_without_a_limit_holds_its_longest_duration(self, db: None) -> None:
        job, _, _ = make_running_job(make_user(), price_per_hour=D(2), max_duration=3600)
        Attempt.objects.update(metered_until=None, price_per_hour=D(2))
        assert holds.month_of(job.owner_id).held == 3
        Job.objects.update(price_per_hour=0)
        Attempt.objects.update(price_per_hour=0)
        assert holds.month_of(job.owner_id).held == 0

    def test_many_people_need_one_query(self, db: None, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
        people = [make_running_job(make_user())[0].owner_id for _ in range(4)]
        with django_assert_num_queries(1):
            assert set(holds.months(dict.fromkeys(people))) == set(people)


@pytest.mark.django_db
class TestStart:
    def test_the_hold_is_the_budget(self, world: World) -> None:
        job = make_job(make_user(), budget_limit=D(5), start=True)
        assert job.cost_limit == 5

    def test_without_limits_nothing_is_held(self, world: World) -> None:
        assert make_job(make_user(), start=True).cost_limit is None

    def test_a_month_that_leaves_too_little_refuses_and_saves_nothing(self, world: World) -> None:
        owner = make_user()
        Budget.objects.create(owner=owner, monthly_limit=D(6))
        dataset = make_dataset(owner)
        make_job(owner, dataset=dataset, budget_limit=D(5), start=True)
        with pytest.raises(Conflict, match=r"this month leaves \$1.00"):
            make_job(owner, dataset=dataset, budget_limit=D(5), start=True)
        assert owner.jobs.count() == 1
        saved = make_job(owner, dataset=dataset, budget_limit=D(1))
        start_job(saved.pk)
        saved.refresh_from_db()
        assert (saved.status, saved.cost_limit) == ("queued", 1)


@pytest.mark.django_db(transaction=True)
def test_a_hundred_starts_at_once_never_pass_the_limit(world: World) -> None:
    """Eight connections, a hundred jobs of one dollar and more, a limit of twenty: exactly twenty start."""
    owner = make_user()
    Budget.objects.create(owner=owner, monthly_limit=D(20))
    dataset = make_dataset(owner)
    jobs = [make_job(owner, dataset=dataset, budget_limit=D(1)).pk for _ in range(100)]
    gate, waiting, lock = threading.Barrier(8), iter(jobs), threading.Lock()
    refused: list[str] = []
    broken: list[BaseException] = []

    def work() -> None:
        gate.wait(30)
        try:
            while True:
                with lock:
                    job_id = next(waiting, None)
                if job_id is None:
                    return
                try:
                    start_job(job_id)
                except Conflict as conflict:
                    refused.append(conflict.code)
        except BaseException as error:  # noqa: BLE001 - shown by the assertion below
            broken.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert broken == []
    started = Job.objects.filter(owner=owner, status="queued")
    assert (started.count(), refused) == (20, ["over_monthly_limit"] * 80)
    assert started.aggregate(held=Sum("cost_limit"))["held"] == 20
