"""A job's page while the network, the server or the job goes away: nothing is lost and nothing is drawn twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from pipeline.config.supervisor import Stack
from tests.e2e.browser import (
    UNREACHABLE,
    Desk,
    Person,
    axe,
    drawn_steps,
    expect_status,
    signed_in,
    simulate,
    stored_steps,
    wait_drawn,
    wait_step_beyond,
)
from tests.e2e.cable import Cable
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def expect_link(page: Page, state: str) -> None:
    expect(page.locator("#link-state")).to_have_attribute("data-state", state, timeout=40_000)


def watch_badge(page: Page) -> None:
    """Keep every text that the badge of the job shows from now on."""
    page.evaluate("""() => {
      const badge = document.querySelector(".job-title .status");
      badge.seen = [badge.textContent.trim()];
      new MutationObserver(() => badge.seen.push(badge.textContent.trim())).observe(badge, {childList: true});
    }""")


def badges(page: Page) -> list[str]:
    seen = page.evaluate("() => document.querySelector('.job-title .status').seen")
    return [text for i, text in enumerate(seen) if i == 0 or text != seen[i - 1]]


@pytest.fixture
def endless(grace: Person, paints: dict[str, Any]) -> Iterator[str]:
    """A job that runs until somebody ends it."""
    job_id = simulate(grace.account, paints, steps=100_000, name="endless")
    yield job_id
    grace.account.call("POST", f"/api/jobs/{job_id}/cancel/")


def test_a_cut_cable_leaves_no_gap_and_no_double(
    browser: Browser, stack: Stack, desk: Desk, grace: Person, paints: dict[str, Any]
) -> None:
    desk.forgive(UNREACHABLE)
    with Cable(stack.port) as cable, signed_in(browser, cable.url, grace) as context:
        job_id = simulate(grace.account, paints, steps=80)
        page = desk.open(f"/jobs/{job_id}/", context, cable.url)
        watch_badge(page)
        expect_link(page, "live")
        wait_step_beyond(page, 0)
        cable.cut()
        expect_link(page, "offline")
        grace.account.wait(job_id, lambda job: job["current_step"] >= 40)
        assert len(drawn_steps(page)) < 40
        cable.mend()
        expect_link(page, "live")
        expect_status(page, "Completed")
        wait_drawn(page, 80)
        assert drawn_steps(page) == stored_steps(page) == list(range(1, 81))
        assert drawn_steps(page, "Validation") == stored_steps(page, "eval_loss")
        page.get_by_role("tab", name="Events").click()
        events = page.locator("#event-list > li")
        shown = events.evaluate_all("rows => rows.map((row) => Number(row.dataset.seq))")
        stored = grace.account.call("GET", f"/api/jobs/{job_id}/events/?limit=1000", 200)["results"]
        assert sorted(shown) == sorted(event["seq"] for event in stored)
        page.get_by_role("tab", name="Logs").click()
        page.locator("#log .log-text").nth(5).wait_for()
        lines = page.locator("#log .log-text").all_inner_texts()
        assert len(lines) == len(set(lines)) > 5


def test_a_killed_server_leaves_no_gap_and_no_double(
    stack: Stack, desk: Desk, grace: Person, paints: dict[str, Any]
) -> None:
    desk.forgive(UNREACHABLE)
    job_id = simulate(grace.account, paints, steps=80)
    page = desk.open(f"/jobs/{job_id}/")
    expect_link(page, "live")
    step = wait_step_beyond(page, 0)
    starts = stack.starts("web")
    stack.kill("web", signal.SIGKILL)
    until(lambda: page.locator("#link-state").get_attribute("data-state") != "live", 20, "the page to notice")
    until(lambda: stack.starts("web") > starts, 30, "another web process")
    expect_link(page, "live")
    wait_step_beyond(page, step)
    expect_status(page, "Completed")
    wait_drawn(page, 80)
    assert drawn_steps(page) == stored_steps(page) == list(range(1, 81))
    assert drawn_steps(page, "Validation") == stored_steps(page, "eval_loss")


def test_without_websockets_the_page_asks_until_the_job_has_ended(
    browser: Browser, stack: Stack, desk: Desk, grace: Person, paints: dict[str, Any]
) -> None:
    desk.forgive(UNREACHABLE)
    with Cable(stack.port, websockets=False) as cable, signed_in(browser, cable.url, grace) as context:
        job_id = simulate(grace.account, paints, steps=80)
        asked: list[str] = []

        def note(request: Request) -> None:
            asked.append(request.url.removeprefix(cable.url))

        page = desk.open(context=context)
        page.clock.install()
        page.on("request", note)
        page.goto(f"/jobs/{job_id}/")
        expect_link(page, "polling")
        expect(page.locator("#link-state")).to_have_text("Updating every 5 s")
        assert cable.refused
        assert not axe(page)
        wait_step_beyond(page, wait_step_beyond(page, 0))
        expect_status(page, "Completed")
        wait_drawn(page, 80)
        assert drawn_steps(page) == stored_steps(page) == list(range(1, 81))

        def count(part: str) -> int:
            return sum(part in path for path in asked)

        live = f"/api/jobs/{job_id}/live/"
        assert count(live) >= 2
        expect(page.locator("#end-banner")).to_contain_text("Training completed")
        lives, bells = count(live), count("/api/notifications/")
        page.clock.run_for(21_000)
        until(lambda: count("/api/notifications/") >= bells + 3, 20, "the bell to be asked on")
        assert count(live) == lives, "a job that has ended is not asked for any more"


def test_cancel_from_the_page(desk: Desk, endless: str) -> None:
    page = desk.open(f"/jobs/{endless}/")
    wait_step_beyond(page, 0)
    expect_status(page, "Running")
    watch_badge(page)
    cancel = page.get_by_role("button", name="Cancel job")
    cancel.click()
    dialog = page.get_by_role("dialog", name="Cancel “endless”?")
    expect(dialog).to_be_visible()
    found = axe(page)
    dialog.get_by_role("button", name="Keep it running").click()
    expect(dialog).to_be_hidden()
    expect_status(page, "Running")
    cancel.click()
    dialog.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".job-title .status")).to_have_text("Cancelling", timeout=4000)
    expect_status(page, "Cancelled")
    assert badges(page) == ["Running", "Cancelling", "Cancelled"]
    expect(page.locator("#end-banner")).to_be_visible()
    expect(cancel).to_be_hidden()
    wait_drawn(page, 1)
    until(lambda: drawn_steps(page) == stored_steps(page), 10, "the chart to hold what is stored")
    assert not found, "\n".join(found)


def test_cancel_from_the_list(desk: Desk, window: BrowserContext, endless: str) -> None:
    page = desk.open("/jobs/")
    row = page.locator(f'[data-job="{endless}"]')
    expect(row.locator(".status")).to_have_text("Running", timeout=40_000)
    expect(row.locator('[data-f="steps"]')).to_contain_text("/ 100,000")
    row.get_by_role("button", name="Cancel endless").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel the job").click()
    expect(row.locator(".status")).to_have_text("Cancelled", timeout=40_000)
    expect(row.get_by_role("button", name="Cancel endless")).to_be_hidden()


def test_a_failure_says_what_happened(desk: Desk, grace: Person, paints: dict[str, Any]) -> None:
    job_id = simulate(grace.account, paints, "sim-out-of-memory", steps=100)
    page = desk.open(f"/jobs/{job_id}/")
    expect_status(page, "Failed")
    banner = page.locator("#end-banner")
    expect(banner).to_contain_text("Training failed")
    expect(banner).to_contain_text("CUDA out of memory")
    expect(page.locator(".toast-item[role=alert]", has_text="Training failed")).to_be_visible()
    banner.get_by_role("link", name="See what happened").click()
    expect(page.get_by_role("tab", name="Events", selected=True)).to_be_visible()
    expect(page.locator("#event-list")).to_contain_text("out of memory")


def test_a_job_that_is_deleted_says_so(desk: Desk, grace: Person, paints: dict[str, Any]) -> None:
    job_id = simulate(grace.account, paints, start=False)
    page = desk.open(f"/jobs/{job_id}/")
    expect_link(page, "live")
    page.wait_for_load_state("networkidle")  # what it still asks for would be refused, and stand in the console
    grace.account.call("DELETE", f"/api/jobs/{job_id}/", 204)
    expect(page.get_by_text("This job was deleted")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_hidden()
