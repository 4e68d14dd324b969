"""Two jobs chosen in the list: compared on one chart, then cancelled with one confirmation."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import Desk, Person, flaws, simulate

pytestmark = pytest.mark.timeout(180)

_POINTS = """letter => {
  const chart = window.Chart?.getChart(document.querySelector("#charts canvas"));
  return chart?.data.datasets.find((one) => one.label === letter)?.data.length ?? 0;
}"""


def wait_points(page: Page, letter: str, least: int) -> None:
    page.wait_for_function(f"([letter, least]) => ({_POINTS})(letter) >= least", arg=[letter, least])


def test_chosen_jobs_are_compared_and_cancelled(desk: Desk, grace: Person, paints: dict[str, Any]) -> None:
    names = ["many one", "many two", "many three"]
    jobs = {name: simulate(grace.account, paints, steps=100_000, name=name) for name in names}
    for job in jobs.values():
        grace.account.wait(job, lambda job: job["current_step"] >= 5)
    page = desk.open("/jobs/?q=many")
    boxes = {name: page.get_by_label(f"Select {name}") for name in names}

    # A range by keyboard, and a row taken out of it again.
    page.locator("#pick-all").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    boxes["many one"].click(modifiers=["Shift"])
    expect(page.locator("#bulk-count")).to_have_text("3 selected")
    boxes["many three"].uncheck()
    expect(page.locator("#bulk-count")).to_have_text("2 selected")
    expect(page.locator("#pick-all")).to_have_js_property("indeterminate", True)

    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/jobs/compare/?ids=*")
    wait_points(page, "A", 5)
    wait_points(page, "B", 5)
    seen = page.evaluate(_POINTS, "A")
    wait_points(page, "A", seen + 3)  # live
    page.get_by_role("button", name=re.compile("Curves of many one")).click()
    page.wait_for_function(f"() => ({_POINTS})('A') === 0 || ({_POINTS})('B') === 0")
    page.get_by_label("Over", exact=True).select_option("seconds")
    expect(page).to_have_url(re.compile("x=seconds"))
    page.reload()
    expect(page.get_by_label("Over", exact=True)).to_have_value("seconds")
    wait_points(page, "B", 5)
    assert not flaws(page)

    page.goto(f"{desk.url}/jobs/?q=many")
    for name in names[:2]:
        boxes[name].check()
    page.locator("#bulk").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel 2 jobs?")
    dialog.get_by_role("button", name="Cancel 2 jobs").click()
    expect(page.locator("#bulk")).to_be_hidden()
    for name in names[:2]:
        row = page.locator(f'[data-job="{jobs[name]}"]')
        expect(row.locator(".status")).to_have_text("Cancelled", timeout=40_000)
    expect(page.locator(f'[data-job="{jobs["many three"]}"] .status')).to_have_text("Running")
    grace.account.call("POST", "/api/jobs/cancel/", 200, json={"ids": [jobs["many three"]]})
