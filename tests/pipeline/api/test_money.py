"""Spending, budgets, estimates and limits over the API: exact, one's own, and refused in sentences."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from pipeline.models import Attempt, Budget, CostRecord, Job
from tests.factories import make_job, make_running_job

D = Decimal


def spend(
    owner: Any, amount: str, day: datetime, job: Job | None = None, kind: str = "metered", provider: str = "scripted"
) -> None:
    CostRecord.objects.create(
        owner=owner, provider=provider, job=job, attempt=None, kind=kind, period_start=day, period_end=day, seconds=1,
        price_per_hour=1, amount=D(amount),
    )  # fmt: skip


@pytest.fixture
def spent(owner: Any, stranger: Any) -> Job:
    """Three of the owner's days, and a stranger's money beside it."""
    job = make_job(owner.user, name="=cmd()")
    spend(owner.user, "0.100001", datetime(2026, 3, 1, 0, 0, tzinfo=UTC), job)
    spend(owner.user, "0.200002", datetime(2026, 3, 1, 23, 59, tzinfo=UTC), job)
    spend(owner.user, "5", datetime(2026, 3, 2, 1, tzinfo=UTC), None, provider="other")
    spend(owner.user, "5.5", datetime(2026, 3, 2, 1, tzinfo=UTC), None, kind="invoiced", provider="other")
    spend(owner.user, "9", datetime(2026, 4, 1, 0, 0, tzinfo=UTC), job)
    spend(stranger.user, "77", datetime(2026, 3, 1, 1, tzinfo=UTC))
    return job


MARCH = "from=2026-03-01&to=2026-03-31"


class TestSpending:
    @pytest.mark.parametrize(
        ("by", "rows"),
        [
            ("day", [("2026-03-01", "0.300003", None), ("2026-03-02", "5.000000", "5.500000")]),
            ("provider", [("other", "5.000000", "5.500000"), ("scripted", "0.300003", None)]),
            ("user", [("owner", "5.300003", "5.500000")]),
        ],
    )
    def test_sums_are_exact_and_only_ones_own(self, owner: Any, spent: Job, by: str, rows: list[Any]) -> None:
        body = owner.api.get(f"/api/spending/?by={by}&{MARCH}").json()
        assert [(row["key"], row["amount"], row["invoiced"]) for row in body["rows"]] == rows
        assert (body["total"], body["first"], body["last"], body["more"]) == (
            "5.300003",
            "2026-03-01",
            "2026-03-31",
            False,
        )

    def test_by_job_deleted_ones_stay_in_the_sum(self, owner: Any, spent: Job) -> None:
        rows = owner.api.get(f"/api/spending/?by=job&{MARCH}").json()["rows"]
        assert [(row["key"], row["label"], row["amount"]) for row in rows] == [
            ("", "Deleted jobs", "5.000000"), (str(spent.pk), "=cmd()", "0.300003"),
        ]  # fmt: skip

    def test_a_stranger_sees_only_their_own(self, stranger: Any, spent: Job) -> None:
        rows = stranger.api.get(f"/api/spending/?by=job&{MARCH}").json()["rows"]
        assert [row["amount"] for row in rows] == ["77.000000"]

    def test_the_file_holds_the_same_and_no_formula(self, owner: Any, spent: Job) -> None:
        answer = owner.api.get(f"/api/spending.csv?by=job&{MARCH}")
        assert answer["Content-Disposition"] == 'attachment; filename="spending-2026-03-01-2026-03-31.csv"'
        rows = list(csv.reader(io.StringIO(answer.getvalue().decode())))
        assert rows[0] == [
            "job", "label", "amount_usd", "invoiced_usd", "machine_seconds", "jobs", "simulated_usd", "drift_usd",
        ]  # fmt: skip
        assert rows[1][1:] == ["Deleted jobs", "5.000000", "5.500000", "1.000", "0", "0.000000", ""]
        assert rows[2] == [str(spent.pk), "'=cmd()", "0.300003", "", "2.000", "1", "0.000000", ""]

    def test_this_month_is_what_is_meant_where_no_day_is_named(self, owner: Any) -> None:
        spend(owner.user, "1", timezone.now())
        spend(owner.user, "2", timezone.now() - timedelta(days=40))
        body = owner.api.get("/api/spending/").json()
        assert (body["by"], body["total"], body["month"]["spent"]) == ("day", "1.000000", "1.000000")

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("by=nonsense", "by"), ("from=2026-13-01", "from"), ("to=yesterday", "to"), ("from=0001-01-01", "from"),
            ("from=2026-03-02&to=2026-03-01", "to"), ("to=9999-12-31", "to"),
        ],
    )  # fmt: skip
    def test_nonsense_is_named(self, owner: Any, query: str, field: str) -> None:
        for path in ("/api/spending/", "/api/spending.csv"):
            answer = owner.api.get(f"{path}?{query}")
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)

    def test_many_rows_cost_as_many_queries_as_one(
        self, owner: Any, spent: Job, django_assert_num_queries: Any
    ) -> None:
        for number in range(20):
            spend(owner.user, "1", datetime(2026, 3, 3 + number, tzinfo=UTC), make_job(owner.user))
        with django_assert_num_queries(5):
            assert len(owner.api.get(f"/api/spending/?by=job&{MARCH}").json()["rows"]) == 22


class TestBudget:
    def test_set_read_and_taken_away(self, owner: Any, stranger: Any) -> None:
        assert owner.api.get("/api/budget/").json()["monthly_limit"] is None
        answer = owner.api.put("/api/budget/", {"monthly_limit": "25.50"}, format="json")
        assert answer.status_code == 200
        assert answer.json()["month"] | {"start": ""} == {
            "start": "", "limit": "25.500000", "spent": "0.000000", "held": "0.000000", "left": "25.500000",
            "projected": "0.000000",
        }  # fmt: skip
        assert stranger.api.get("/api/budget/").json()["monthly_limit"] is None
        assert owner.api.put("/api/budget/", {"monthly_limit": None}, format="json").json()["month"]["left"] is None

    @pytest.mark.parametrize(
        "body", [{}, {"monthly_limit": -1}, {"monthly_limit": "NaN"}, {"monthly_limit": 1, "x": 2}]
    )
    def test_nonsense_is_refused(self, owner: Any, body: Any) -> None:
        assert owner.api.put("/api/budget/", body, format="json").status_code == 400

    def test_a_job_that_does_not_fit_is_refused_with_the_numbers(self, owner: Any, job_body: Any) -> None:
        Budget.objects.create(owner=owner.user, monthly_limit=D(3))
        body = job_body | {"budget_limit": "4.00", "start": True}
        answer = owner.api.post("/api/jobs/", body, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "over_monthly_limit")
        assert answer.json()["detail"] == (
            "This job may cost $4.00, but this month leaves $3.00: $0.00 of $3.00 are spent and $0.00 are held for "
            "live jobs. Give it a budget of at most $3.00, raise the monthly limit, or wait until a live job has ended."
        )
        assert not Job.objects.exists()
        assert owner.api.post("/api/jobs/", body | {"budget_limit": "3.00"}, format="json").json()["cost_limit"] == 3


class TestEstimates:
    def test_the_body_of_a_job_is_answered_and_nothing_is_made(self, owner: Any, job_body: Any) -> None:
        Budget.objects.create(owner=owner.user, monthly_limit=D(3))
        answer = owner.api.post("/api/estimates/", job_body | {"budget_limit": "2.00"}, format="json")
        assert answer.status_code == 200
        body = answer.json()
        assert (body["confidence"], body["total"], body["price_per_hour"]) == ("none", None, "3.600000")
        assert (body["holds"], body["problem"]) == ("2.000000", "")
        assert not Job.objects.exists()

    def test_what_could_not_start_says_why(self, owner: Any, job_body: Any) -> None:
        Budget.objects.create(owner=owner.user, monthly_limit=D(3))
        body = owner.api.post("/api/estimates/", job_body | {"budget_limit": "4.00"}, format="json").json()
        assert body["holds"] is None
        assert body["problem"].startswith("This job may cost $4.00")

    def test_mistakes_are_named_as_for_a_job(self, owner: Any, job_body: Any) -> None:
        answer = owner.api.post(
            "/api/estimates/", job_body | {"gpu_config": {"provider": "scripted", "count": 9}}, format="json"
        )
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "gpu_config.count")

    def test_a_saved_job(self, owner: Any, stranger: Any) -> None:
        job = make_job(owner.user, budget_limit=D(2))
        assert owner.api.get(f"/api/estimates/?job={job.pk}").json()["holds"] == "2.000000"
        assert stranger.api.get(f"/api/estimates/?job={job.pk}").status_code == 404
        assert owner.api.get("/api/estimates/").status_code == 400


class TestLimits:
    def test_the_budget_of_a_live_job(self, owner: Any, stranger: Any) -> None:
        job, *_ = make_running_job(owner.user, cost_limit=D(1), budget_limit=D(1))
        path = f"/api/jobs/{job.pk}/"
        answer = owner.api.patch(path, {"budget_limit": "2.50"}, format="json")
        assert (answer.status_code, answer.json()["budget_limit"], answer.json()["cost_limit"]) == (200, 2.5, 2.5)
        assert owner.api.patch(path, {"max_duration": 7200}, format="json").json()["budget_limit"] == 2.5
        assert owner.api.patch(path, {"priority": 5}, format="json").status_code == 400
        assert stranger.api.patch(path, {"budget_limit": "9"}, format="json").status_code == 404

    def test_the_cost_of_a_job_keeps_its_three_figures_apart(self, owner: Any) -> None:
        job, attempt, _ = make_running_job(owner.user, estimated_cost=D("1.5"), eta_seconds=3600.0, price_per_hour=D(2))
        Attempt.objects.filter(pk=attempt.pk).update(price_per_hour=D(2), metered_until=None, invoiced=D("1.2"))
        now = timezone.now()
        for kind, amount in (("metered", "1"), ("invoiced", "1.2")):
            CostRecord.objects.create(
                owner=owner.user, job=job, attempt=attempt, kind=kind, period_start=now, period_end=now, seconds=1,
                price_per_hour=2, amount=D(amount),
            )  # fmt: skip
        Job.objects.filter(pk=job.pk).update(current_cost=1)
        body = owner.api.get(f"/api/jobs/{job.pk}/").json()
        assert (body["estimated_cost"], body["projected_cost"], body["current_cost"]) == (1.5, 3, 1)
        assert body["cost"] == {"estimate": {}, "metered": 1, "invoiced": 1.2, "drift": 0.2, "settled": False}


class TestSimulated:
    """What is simulated costs nobody anything: it is told apart, and no month counts it."""

    @pytest.fixture(autouse=True)
    def installed(self, settings: Any) -> None:
        simulated = "pipeline.providers.simulated.SimulatedProvider"
        settings.STOKER_PROVIDERS = {**settings.STOKER_PROVIDERS, "simulated": simulated}

    def test_it_is_no_part_of_a_sum_and_stands_beside_it(self, owner: Any, spent: Job) -> None:
        spend(owner.user, "40", datetime(2026, 3, 2, 5, tzinfo=UTC), provider="simulated")
        body = owner.api.get(f"/api/spending/?by=day_provider&{MARCH}").json()
        assert (body["total"], body["simulated"]) == ("5.300003", "40.000000")
        assert [(row["key"], row["label"], row["amount"], row["simulated"]) for row in body["rows"]] == [
            ("2026-03-01", "scripted", "0.300003", "0.000000"), ("2026-03-02", "other", "5.000000", "0.000000"),
            ("2026-03-02", "simulated", "0.000000", "40.000000"),
        ]  # fmt: skip

    def test_no_month_counts_it(self, owner: Any) -> None:
        owner.api.put("/api/budget/", {"monthly_limit": "1"}, format="json")
        spend(owner.user, "50", timezone.now(), provider="simulated")
        _, attempt, _ = make_running_job(owner.user, provider="simulated", price_per_hour=D(9), cost_limit=D(5))
        Attempt.objects.filter(pk=attempt.pk).update(price_per_hour=D(9))
        month = owner.api.get("/api/budget/").json()["month"]
        assert (month["spent"], month["held"], month["left"]) == ("0.000000", "0.000000", "1.000000")

    def test_a_job_there_starts_in_a_month_that_is_used_up_and_keeps_its_own_budget(self, owner: Any) -> None:
        owner.api.put("/api/budget/", {"monthly_limit": "0"}, format="json")
        job = make_job(owner.user, provider="simulated", start=True, budget_limit=D("2.50"))
        assert (job.status, job.cost_limit) == ("queued", D("2.50"))


def test_drift_is_of_billed_machines_only(owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    day = datetime(2026, 3, 5, tzinfo=UTC)
    spend(owner.user, "2", day, job)
    Attempt.objects.filter(pk=attempt.pk).update(invoiced=D("1.5"))
    for kind, amount in (("metered", "1"), ("invoiced", "1.5")):
        CostRecord.objects.create(
            owner=owner.user, provider="scripted", job=job, attempt=attempt, kind=kind, period_start=day,
            period_end=day, seconds=1, price_per_hour=1, amount=D(amount),
        )  # fmt: skip
    (row,) = owner.api.get(f"/api/spending/?by=job&{MARCH}").json()["rows"]
    assert (row["amount"], row["invoiced"], row["drift"]) == ("3.000000", "1.500000", "0.500000")
