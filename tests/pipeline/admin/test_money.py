"""Operators see everybody's spending and set anybody's monthly limit."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from pipeline.models import Attempt, Budget, CostRecord, Job
from tests.factories import make_running_job, make_user

SPENDING = "/admin/pipeline/costrecord/spending"


@pytest.fixture
def spent(owner: Any, stranger: Any) -> None:
    for person, amount in ((owner, "1.25"), (stranger, "2.50")):
        CostRecord.objects.create(
            owner=person.user, provider="scripted", period_start=datetime(2026, 3, 1, tzinfo=UTC),
            period_end=datetime(2026, 3, 1, tzinfo=UTC), seconds=3600, price_per_hour=1, amount=Decimal(amount),
        )  # fmt: skip


@pytest.mark.parametrize(("by", "shown"), [("day", "2026-03-01"), ("provider", "scripted"), ("user", "stranger")])
def test_spending_of_everybody(operator: Any, spent: None, by: str, shown: str) -> None:
    page = operator.get(SPENDING, {"by": by, "from": "2026-03-01", "to": "2026-03-31"}, follow=True)
    assert page.status_code == 200
    text = page.content.decode()
    assert shown in text
    assert "$3.7500" in text
    assert ("$2.5000" in text) is (by == "user")


def test_the_file_is_exact(operator: Any, spent: None) -> None:
    answer = operator.get(SPENDING, {"by": "user", "from": "2026-03-01", "to": "2026-03-31", "csv": "1"}, follow=True)
    rows = list(csv.reader(io.StringIO(answer.getvalue().decode())))
    assert rows[1:] == [
        ["stranger", "stranger", "2.500000", "", "3600.000", "0", "0.000000", ""],
        ["owner", "owner", "1.250000", "", "3600.000", "0", "0.000000", ""],
    ]


@pytest.mark.parametrize("asked", [{"by": "x"}, {"from": "2026-02-31"}, {"to": "0000-00-00"}, {"from": "\x00"}])
def test_nonsense_in_the_address_means_this_month(operator: Any, spent: None, asked: Any) -> None:
    assert operator.get(SPENDING, asked, follow=True).status_code == 200


def test_nobody_else_sees_it(owner: Any, spent: None) -> None:
    assert owner.browser.get(SPENDING).status_code in (301, 302)
    assert "3.75" not in owner.browser.get(SPENDING, follow=True).content.decode()


def test_a_limit_below_what_is_spent_is_an_operators_right(operator: Any, world: Any) -> None:
    job, *_ = make_running_job(make_user(), price_per_hour=Decimal("3.6"))
    Attempt.objects.update(price_per_hour=Decimal("3.6"), metered_until=timezone.now() - timedelta(hours=1))
    Budget.objects.create(owner=job.owner)
    path = reverse("admin:pipeline_budget_change", args=[job.owner_id])
    answer = operator.post(path, {"monthly_limit": "2.00"}, follow=True)
    assert "live jobs go on until the month" in answer.content.decode()
    assert Budget.objects.get().monthly_limit == 2


def test_a_new_limit(operator: Any) -> None:
    person = make_user()
    operator.post(reverse("admin:pipeline_budget_add"), {"owner": person.pk, "monthly_limit": "12.50"}, follow=True)
    assert Budget.objects.get(owner=person).monthly_limit == Decimal("12.50")


def test_many_months_need_as_many_queries_as_one(operator: Any) -> None:
    counts = []
    path = reverse("admin:pipeline_budget_changelist")
    operator.get(path)
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            Budget.objects.create(owner=make_user(), monthly_limit=5)
            operator.get(path)
        counts.append(len(queries))
    assert counts[0] == counts[1]


class TestLimitsOfAJob:
    def save(self, operator: Any, job: Job, **changed: Any) -> str:
        fields = {
            "name": job.name, "priority": job.priority, "budget_limit": job.budget_limit or "",
            "max_duration": job.max_duration, "max_attempts": job.max_attempts,
        } | changed  # fmt: skip
        inlines = {
            f"{prefix}-{field}": 0
            for prefix in ("attempts", "events", "cost_records")
            for field in ("TOTAL_FORMS", "INITIAL_FORMS")
        }
        path = reverse("admin:pipeline_job_change", args=[job.pk])
        return operator.post(path, fields | inlines, follow=True).content.decode()

    def test_a_budget_goes_through_the_lock(self, operator: Any) -> None:
        job, *_ = make_running_job(make_user(), budget_limit=5, cost_limit=5, budget_told=80)
        self.save(operator, job, budget_limit="7.50")
        job.refresh_from_db()
        assert (job.budget_limit, job.cost_limit, job.budget_told) == (Decimal("7.50"), Decimal("7.50"), 0)

    def test_a_refusal_is_shown(self, operator: Any) -> None:
        job, *_ = make_running_job(make_user(), budget_limit=5, cost_limit=5, price_per_hour=1)
        Attempt.objects.update(price_per_hour=1)
        Budget.objects.create(owner=job.owner, monthly_limit=6)
        assert "this month leaves $6.00" in self.save(operator, job, budget_limit="7.50", priority=3)
        job.refresh_from_db()
        assert (job.budget_limit, job.cost_limit, job.priority) == (5, 5, 3)
