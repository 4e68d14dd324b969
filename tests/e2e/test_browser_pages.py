"""Every page in every state: nothing in the console, nothing that axe-core finds, no scrolling sideways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.browser import NOT_FOUND, Desk, Person, flaws, simulate, wait_drawn
from tests.training import tiny

pytestmark = pytest.mark.timeout(180)
LONG = "a-name-without-any-place-to-break-it-" * 3  # 111 characters


@dataclass(frozen=True)
class Scenes:
    """Datasets and jobs of Grace's in every state."""

    ready: str
    rejected: str
    jobs: dict[str, str]


@pytest.fixture(scope="session")
def scenes(grace: Person, paints: dict[str, Any]) -> Iterator[Scenes]:
    account = grace.account
    started = {
        "running": simulate(account, paints, steps=100_000),
        "cancelled": simulate(account, paints, steps=100_000, name=LONG),
        "failed": simulate(account, paints, "sim-fails", 60),
        "completed": simulate(account, paints, "sim-1000x", 300),
    }
    pending = simulate(account, paints, name="pending", start=False)
    bad = [
        *tiny.jsonl(20).splitlines(),
        b"not json",
        json.dumps({"messages": []}).encode(),
        b'{"messages": [{"role": 1}]}',
    ]
    rejected = account.upload(b"\n".join(bad), LONG)
    assert rejected["status"] == "rejected"
    account.wait(started["cancelled"], lambda job: job["current_step"] >= 3)
    account.call("POST", f"/api/jobs/{started['cancelled']}/cancel/")
    for name, status in (
        ("completed", "completed"), ("failed", "failed"), ("cancelled", "cancelled"),
    ):  # fmt: skip
        assert account.wait_ended(started[name])["status"] == status
    yield Scenes(paints["id"], rejected["id"], {**started, "pending": pending})
    account.call("POST", f"/api/jobs/{started['running']}/cancel/")


def look(page: Page, root: str = "") -> None:
    found = flaws(page, root)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "ready"),
    [
        ("/jobs/", '#link-state[data-state="live"]'),
        ("/jobs/?q=no-such-job", ".empty"),
        ("/spending/", "#month"),
        ("/jobs/new/", "#offers tbody tr"),
        ("/datasets/", ".dataset-table"),
        ("/datasets/new/", "#drop"),
        ("/datasets/{ready}/", ".row-view"),
        ("/datasets/{rejected}/", ".error-table"),
        ("/nothing/here/", ".error-code"),
    ],
)
def test_page(desk: Desk, window: BrowserContext, scenes: Scenes, path: str, ready: str) -> None:
    if "nothing" in path:
        desk.forgive(NOT_FOUND)
    page = desk.open(path.format(ready=scenes.ready, rejected=scenes.rejected))
    page.locator(ready).first.wait_for()
    look(page)


@pytest.mark.parametrize("state", ["pending", "running", "failed", "cancelled", "completed"])
def test_job_page(desk: Desk, scenes: Scenes, state: str) -> None:
    page = desk.open(f"/jobs/{scenes.jobs[state]}/")
    expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
    expect(page.locator("#events-loading")).to_be_hidden()
    if state in ("running", "failed", "cancelled", "completed"):
        wait_drawn(page, 2)
    look(page)


def test_every_tab_of_a_job(desk: Desk, scenes: Scenes) -> None:
    page = desk.open(f"/jobs/{scenes.jobs['failed']}/")
    for tab, ready in (
        ("Samples", "#sample-list .empty, .sample"),
        ("Configuration", ".config"),
        ("Info", ".info"),
        ("Logs", ".log-line"),
        ("Events", "#event-list > li"),
    ):
        page.get_by_role("tab", name=tab).click()
        page.locator(ready).first.wait_for()
        look(page, ".job-tabs")


def test_settings_with_a_token_made_and_revoked(desk: Desk, window: BrowserContext) -> None:
    page = desk.open("/settings/")
    page.get_by_label("Name of a new token").fill("nightly")
    page.get_by_role("button", name="Create token").click()
    text = page.locator("#token-text")
    expect(text).to_be_focused()
    answer = page.request.get("/api/me/", headers={"Authorization": f"Bearer {text.inner_text()}", "Cookie": ""})
    assert answer.status == 200
    look(page)
    page.get_by_role("button", name="Revoke nightly").click()
    look(page)
    page.get_by_role("dialog").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator(".toast-item", has_text="Token revoked")).to_be_visible()
    expect(page.get_by_role("button", name="Revoke nightly")).to_have_count(0)


def test_the_link_to_a_provider_account_opens_its_form(desk: Desk, window: BrowserContext) -> None:
    page = desk.open("/jobs/new/")
    page.get_by_role("link", name="Add your RunPod key").click()
    key = page.get_by_label("RunPod key", exact=True)
    expect(key).to_be_focused()
    page.keyboard.press("Enter")
    expect(key).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("Paste the key.")).to_be_visible()
    look(page)
    page.get_by_role("button", name="Add key of RunPod").click()
    expect(key).to_be_hidden()


def test_menus_and_the_phone(desk: Desk, scenes: Scenes) -> None:
    page = desk.open("/jobs/")
    page.get_by_role("button", name="Notifications").click()
    page.locator(".bell-item").first.wait_for()
    look(page, ".topbar")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Your account").click()
    look(page, ".topbar")


def test_the_theme_that_is_chosen_stays(desk: Desk, scenes: Scenes) -> None:
    page = desk.open(f"/jobs/{scenes.jobs['completed']}/")
    wait_drawn(page, 2)
    colour = "Object.values(window.Chart.instances)[0].options.scales.y.ticks.color"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Your account").click()
    page.locator("#user-panel").get_by_text("Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.wait_for_function(f"light => {colour} !== light", arg=light)
    dark = page.evaluate(colour)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    wait_drawn(page, 2)
    assert page.evaluate(colour) == dark
    page.get_by_role("button", name="Your account").click()
    page.locator("#user-panel").get_by_text("System").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.wait_for_function(f"light => {colour} === light", arg=light)
