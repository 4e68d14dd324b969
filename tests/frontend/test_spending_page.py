"""What was spent, as its owner sees it: exact, one's own, and never mixed with what is simulated."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from frontend.views.spending import chart
from pipeline.models import Budget, CostRecord, Job
from pipeline.spending import Row, Span
from tests.conftest import Person
from tests.frontend.test_pages import make_job, text_of


def spend(person: Person, amount: str, at: datetime, job: Job | None = None, **fields: Any) -> None:
    values = {"provider": "runpod", "kind": "metered", "seconds": 60, "price_per_hour": 1} | fields
    CostRecord.objects.create(
        owner=person.user, job=job, period_start=at, period_end=at, amount=Decimal(amount), **values
    )


def facts(page: str) -> dict[str, str]:
    return {
        name: re.sub(r"<[^>]+>", "", value) for name, value in re.findall(r"<dt[^>]*>([^<]+)</dt><dd>(.*?)</dd>", page)
    }


def row(key: str, label: str, amount: str, simulated: str = "0") -> Row:
    return Row(key, label, Decimal(amount), Decimal(simulated), None, None, Decimal(1), 1)


def test_a_newcomer_has_spent_nothing_and_has_no_limit(owner: Person) -> None:
    page = text_of(owner.browser.get("/spending/"))
    assert "Nothing was spent in these days" in page
    assert "Nothing limits what your jobs may cost in a month." in page
    assert facts(page)["Left for further jobs"] == "no limit"


def test_it_needs_a_sign_in(signed_out: Person) -> None:
    assert signed_out.browser.get("/spending/").status_code == 302


def test_this_month_and_its_limit(owner: Person, stranger: Person) -> None:
    Budget.objects.create(owner=owner.user, monthly_limit=Decimal(20))
    job = make_job(owner, "dear one")
    spend(owner, "4.5", timezone.now(), job)
    spend(stranger, "77", timezone.now())
    page = text_of(owner.browser.get("/spending/"))
    assert facts(page)["Spent"] == "$4.50"
    assert facts(page)["Left for further jobs"] == "$15.50"
    assert 'width="22.50" height="4"' in page
    assert f'href="/jobs/{job.pk}/">dear one</a>' in page
    assert "$77" not in page


def test_a_limit_that_is_used_up_says_what_follows(owner: Person) -> None:
    Budget.objects.create(owner=owner.user, monthly_limit=Decimal(2))
    spend(owner, "3", timezone.now())
    assert "This month's limit is used up." in text_of(owner.browser.get("/spending/", headers={"X-Fragment": "1"}))


def test_the_fragment_is_only_the_month(owner: Person) -> None:
    page = text_of(owner.browser.get("/spending/", headers={"X-Fragment": "1"}))
    assert "Left for further jobs" in page
    assert "<html" not in page
    assert "spending-data" not in page


def test_days_of_ones_choice_with_bill_and_deleted_job(owner: Person) -> None:
    at = datetime(2026, 3, 5, 12, tzinfo=UTC)
    spend(owner, "2", at)
    spend(owner, "2.5", at, kind="invoiced")
    spend(owner, "9", datetime(2026, 4, 1, tzinfo=UTC))
    page = text_of(owner.browser.get("/spending/?from=2026-03-01&to=2026-03-31"))
    assert "Deleted jobs" in page
    assert "$2.50" in page
    assert "$9.00" not in page
    assert "/api/spending.csv?by=job&amp;from=2026-03-01&amp;to=2026-03-31" in page
    data = re.search(r'<script id="spending-data" type="application/json">(.*?)</script>', page)
    assert data
    drawn = json.loads(data.group(1))
    assert (drawn["unit"], len(drawn["days"])) == ("day", 31)
    assert drawn["providers"] == [{"name": "runpod", "amounts": [0.0] * 4 + [2.0] + [0.0] * 26}]


def test_what_is_simulated_is_in_no_sum(owner: Person) -> None:
    job = make_job(owner, "pretended", provider="simulated")
    spend(owner, "40", timezone.now(), job, provider="simulated")
    page = text_of(owner.browser.get("/spending/"))
    assert facts(page)["Spent"] == "$0.00"
    assert 'Simulated jobs made up a cost of <b class="num">$40.00</b>' in page
    assert "None of these jobs cost real money." in page
    assert 'tag-simulated">Simulated</span> $40.00' in page


@pytest.mark.parametrize("query", ["from=x&to=y", "from=2026-02-31", "to=0001-01-01", "from=%00"])
def test_nonsense_means_this_month(owner: Person, query: str) -> None:
    page = text_of(owner.browser.get(f"/spending/?{query}"))
    assert re.search(r'aria-current="true">This month<', page)


def test_days_the_wrong_way_round_are_exchanged(owner: Person) -> None:
    page = text_of(owner.browser.get("/spending/?from=2026-03-31&to=2026-03-01"))
    assert "they were exchanged" in page
    assert 'name="from" value="2026-03-01"' in page


def test_many_jobs_cost_as_many_queries_as_one(owner: Person, django_assert_max_num_queries: Any) -> None:
    for number in range(15):
        spend(owner, "1", timezone.now(), make_job(owner, f"job {number}"))
    with django_assert_max_num_queries(8):
        owner.browser.get("/spending/")


def test_a_long_span_is_drawn_by_month_without_gaps() -> None:
    rows = [
        row("2026-01-05", "a", "1"),
        row("2026-01-31", "a", "2"),
        row("2026-03-01", "b", "4"),
        row("2026-04-01", "c", "0", "9"),
    ]
    drawn = chart(rows, Span(date(2026, 1, 1), date(2026, 6, 2)))
    assert drawn["unit"] == "month"
    assert drawn["days"] == ["2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01", "2026-05-01", "2026-06-01"]
    assert drawn["providers"] == [
        {"name": "a", "amounts": [3.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
        {"name": "b", "amounts": [0.0, 0.0, 4.0, 0.0, 0.0, 0.0]},
    ]
