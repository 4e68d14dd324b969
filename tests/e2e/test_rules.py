"""Rules in the running product: a diverging run is stopped by one, and two tabs change another."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.account import Account
from tests.e2e.browser import Desk, Person, flaws, simulate
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def test_a_diverging_run_is_stopped_by_the_usual_rule(ada: Account, colours: dict[str, Any]) -> None:
    job_id = simulate(ada, colours, "sim-diverges", 2000)
    job = ada.wait_ended(job_id)
    assert (job["status"], job["reason"]) == ("cancelled", "stopped_by_rule")
    assert "The rule says: Stop when loss is not a number." in job["reason_text"]
    assert job["current_step"] < 2000
    rule = next(one for one in ada.call("GET", f"/api/jobs/{job_id}/rules/", 200) if one["kind"] == "loss_not_finite")
    assert rule["state"] == "fired"
    # The first of the losses that is no number, training or validation, whichever the rule met.
    assert rule["saw"].removeprefix("eval_") == f"loss NaN at step {rule['fired_step']:,}"

    def told() -> set[str]:
        return {one["type"] for one in ada.call("GET", f"/api/notifications/?job={job_id}", 200)["results"]}

    until(lambda: {"loss_diverged", "job_cancelled"} <= told(), 40, "both notifications")


def test_two_tabs_change_a_rule_while_the_job_runs(grace: Person, paints: dict[str, Any], desk: Desk) -> None:
    desk.forgive("status of 4(00|09)")  # what is refused on purpose
    job_id = simulate(grace.account, paints, steps=100_000, rules=[])
    page = desk.open(f"/jobs/{job_id}/#rules")
    expect(page.get_by_text("No rules: nobody watches this job.")).to_be_visible()
    page.get_by_role("button", name="Add a rule").click()
    page.get_by_label("When").select_option("cost_above")
    page.get_by_label("Amount").fill("-3")
    page.get_by_role("button", name="Save the rule").click()
    expect(page.get_by_text("Give a number from 0.01 to 1,000,000,000.")).to_be_visible()
    assert not flaws(page, "#rule-dialog")
    page.get_by_label("Amount").fill("300")
    page.get_by_role("button", name="Save the rule").click()
    row = page.locator(".rule")
    expect(row).to_contain_text("Tell me when the cost is above $300.00.")
    expect(row.get_by_text("Armed", exact=True)).to_be_visible()

    other = desk.open(f"/jobs/{job_id}/#rules")
    other.get_by_role("button", name="Edit").click()
    other.get_by_label("Amount").fill("400")
    row.get_by_role("switch").click()
    expect(row.get_by_text("Off", exact=True)).to_be_visible()
    other.get_by_role("button", name="Save the rule").click()
    expect(other.get_by_text("Somebody changed this rule meanwhile.")).to_be_visible()
    other.get_by_role("button", name="Save the rule").click()
    expect(other.locator(".rule")).to_contain_text("above $400.00.")
    # The first tab hears of it by itself.
    expect(row).to_contain_text("above $400.00.")
    assert not flaws(page, "#panel-rules")
    grace.account.call("POST", f"/api/jobs/{job_id}/cancel/")
