"""Everything that a mouse does, done by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser import Desk, Person, expect_status, simulate, wait_step_beyond

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def endless(grace: Person, paints: dict[str, Any]) -> Iterator[str]:
    job_id = simulate(grace.account, paints, steps=100_000, name="held")
    yield job_id
    grace.account.call("POST", f"/api/jobs/{job_id}/cancel/")


def tab_to(page: Page, target: Locator, most: int = 40) -> int:
    """Press Tab until `target` has the focus; how often that took."""
    for count in range(1, most + 1):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return count
    raise AssertionError(f"{target} is not reached with {most} times Tab.")


def outline_of_focus(page: Page) -> str:
    """The outline of the element with the focus, or of what is laid over it; empty when it has none."""
    return str(
        page.evaluate("""() => {
          for (const part of [null, "::after"]) {
            const style = getComputedStyle(document.activeElement, part);
            if (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) return style.outline;
          }
          return "";
        }""")
    )


def test_skip_link_and_order_on_the_list(desk: Desk, grace: Person, paints: dict[str, Any]) -> None:
    simulate(grace.account, paints, name="kept", start=False)
    page = desk.open("/jobs/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    new = page.locator("main").get_by_role("link", name="New job")
    assert tab_to(page, new, 3) == 1, "the main action comes first"
    assert outline_of_focus(page)
    tab_to(page, page.get_by_label("Search jobs by name or model"), 2)
    page.keyboard.type("kept")
    expect(page.locator(".job-row")).to_have_count(1)
    tab_to(page, page.get_by_role("link", name="kept"), 15)
    assert outline_of_focus(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Start training")).to_be_visible()


def test_menus_open_and_close(desk: Desk, window: object) -> None:
    page = desk.open("/jobs/")
    for name, panel in (("Notifications", "#bell-panel"), ("Your account", "#user-panel")):
        button = page.locator(".topbar-end").get_by_role("button", name=name)
        tab_to(page, button)
        page.keyboard.press("Enter")
        expect(page.locator(panel)).to_be_visible()
        expect(button).to_have_attribute("aria-expanded", "true")
        if panel == "#user-panel":  # from inside of the panel as well as from its button
            page.keyboard.press("Tab")
        page.keyboard.press("Escape")
        expect(page.locator(panel)).to_be_hidden()
        expect(button).to_be_focused()


def test_dialog_and_tabs_of_a_job(desk: Desk, endless: str) -> None:
    page = desk.open(f"/jobs/{endless}/")
    wait_step_beyond(page, 0)
    expect_status(page, "Running")
    cancel = page.get_by_role("button", name="Cancel job")
    tab_to(page, cancel)
    assert outline_of_focus(page)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    keep = dialog.get_by_role("button", name="Keep it running")
    expect(keep).to_be_focused()
    for key in ("Tab", "Tab", "Tab", "Shift+Tab", "Shift+Tab"):
        page.keyboard.press(key)
        where = page.evaluate("() => document.activeElement.closest('dialog, body').tagName")
        body = page.evaluate("() => document.activeElement === document.body")
        assert where == "DIALOG" or body, "the focus stays in the dialog"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(cancel).to_be_focused()
    expect_status(page, "Running")

    names = ["Metrics", "Samples", "Files", "Rules", "Configuration", "Info", "Logs", "Events"]
    tab_to(page, page.get_by_role("tab", name="Metrics"))
    for key, name in [("ArrowRight", name) for name in [*names[1:], names[0]]] + [
        ("ArrowLeft", "Events"), ("Home", "Metrics"), ("End", "Events"), ("Home", "Metrics"),
    ]:  # fmt: skip
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tab", selected=True)).to_contain_text(name)
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
        assert page.get_by_role("tabpanel").count() == 1
    page.keyboard.press("Tab")
    expect(page.get_by_role("tabpanel", name="Metrics")).to_be_focused()
    smooth = page.get_by_role("button", name="Smooth")
    tab_to(page, smooth, 3)
    page.keyboard.press("Space")
    expect(smooth).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    page.goto(f"/jobs/{endless}/#logs")
    expect(page.get_by_role("tab", selected=True)).to_have_text("Logs")


def test_a_job_is_made_and_started_without_a_mouse(desk: Desk, paints: dict[str, Any]) -> None:
    page = desk.open("/jobs/new/")
    page.locator("#offers tbody tr").first.wait_for()
    tab_to(page, page.get_by_label("Name", exact=True))
    page.keyboard.type("typed")
    tab_to(page, page.get_by_label("Dataset", exact=True), 1)
    page.keyboard.type("paints")
    tab_to(page, page.get_by_label("Model id"), 9)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("test/tiny")
    steps = page.get_by_label("Most steps").or_(page.locator("#h-max_steps"))
    tab_to(page, steps.first, 12)
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("50")
    machine = page.locator('#offers input[name="offer"]:checked')
    tab_to(page, machine, 60)
    wanted = page.get_by_label("Simulated GPU, 1,000 times faster")
    for _ in range(12):
        if wanted.is_checked():
            break
        page.keyboard.press("ArrowDown")
    expect(wanted).to_be_checked()
    tab_to(page, page.get_by_role("button", name="Start training"), 12)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_role("button", name="Start")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*-*/")
    expect_status(page, "Completed")
