"""Where a person is told, set up in a browser: a destination is added, chosen for an event, and removed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import NARROW, Desk, flaws

pytestmark = pytest.mark.timeout(120)


def test_a_destination_is_added_chosen_and_removed(desk: Desk) -> None:
    desk.forgive("status of 400")  # an address that is refused
    page = desk.open("/settings/notifications/")
    page.locator(".page-head").get_by_role("button", name="Add destination").click()
    dialog = page.get_by_role("dialog", name="Add a destination")
    dialog.get_by_text("Another service").click()
    dialog.get_by_label("Name").fill("Phone")
    dialog.get_by_label("Address in Apprise").fill("json://127.0.0.1/inside")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog.get_by_text("not among the services")).to_be_visible()
    assert not flaws(page)
    dialog.get_by_label("Address in Apprise").fill("tgram://123456789:abcdefg_hijklmnopqrstuvwxyzabcdefgh/12315544/")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="Send test to Phone")).to_be_focused()
    assert "abcdefg_hijk" not in page.content()

    tick = page.get_by_role("checkbox", name="Job started: Phone")
    expect(tick).not_to_be_checked()
    with page.expect_response("**/api/notification-settings/"):
        tick.check()
    page.reload()
    expect(tick).to_be_checked()
    page.set_viewport_size(NARROW)
    assert not flaws(page)

    page.get_by_role("button", name="Remove Phone").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("Be told where you are")).to_be_visible()

    page.goto("/notifications/")
    page.get_by_role("heading", name="Notifications", level=1).wait_for()
    assert not flaws(page)
