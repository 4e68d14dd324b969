"""What people do from their first sign-in to an adapter, on the pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.config.supervisor import Stack
from tests.e2e.browser import (
    DESKTOP,
    NOT_FOUND,
    PASSWORD,
    Desk,
    Person,
    drawn_steps,
    expect_status,
    flaws,
    simulate,
    stored_steps,
    wait_drawn,
    wait_step_beyond,
)
from tests.training import tiny

pytestmark = pytest.mark.timeout(240)


def fill_job(page: Page, name: str, machine: str, **hyperparameters: object) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Model id").fill("test/tiny")
    folded = page.locator("#all-settings:not([open]) > summary")
    if folded.count():
        folded.click()
    for field, value in hyperparameters.items():
        page.locator(f"#h-{field}").fill(str(value))
    choose_machine(page, machine)


def choose_machine(page: Page, name: str) -> None:
    more = page.locator("#offers-more")
    if more.is_visible():
        more.click()
    page.locator("#offers").get_by_label(name).check()


def start(page: Page) -> None:
    """Start what is in the form, past the last check."""
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs/*-*/")


def test_from_a_sign_in_link_to_a_real_adapter(stack: Stack, browser: Browser, models: None, desk: Desk) -> None:
    link = stack.manage("sign_in_link", "ivan", "--create").strip().splitlines()[-1]
    context = browser.new_context(base_url=stack.url, viewport=DESKTOP)
    page = desk.open(context=context)
    page.goto(link)
    expect(page.get_by_role("heading", name="Light the first fire")).to_be_visible()
    found = flaws(page)
    page.get_by_role("link", name="Datasets").first.click()
    expect(page.get_by_role("heading", name="No datasets yet")).to_be_visible()
    found += flaws(page)

    page.get_by_role("link", name="Upload a dataset").click()
    expect(page.get_by_role("button", name="Upload", exact=True)).to_be_disabled()
    content = tiny.jsonl(400)
    page.locator("#file").set_input_files({"name": "brush_strokes.jsonl", "mimeType": "", "buffer": content})
    expect(page.get_by_label("Name", exact=True)).to_have_value("brush strokes")
    narrow = context.new_cdp_session(page)
    speeds = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
    narrow.send("Network.emulateNetworkConditions", speeds)
    page.get_by_role("button", name="Upload", exact=True).click()
    bar = page.get_by_role("progressbar", name="Upload")
    expect(bar).to_be_visible()
    page.wait_for_function("() => { const b = document.querySelector('#progress progress'); return b.position > 0 }")
    expect(page.locator("#sent")).to_contain_text("kB of 10")
    narrow.send("Network.emulateNetworkConditions", speeds | {"uploadThroughput": -1})
    narrow.detach()

    page.wait_for_url("**/datasets/*-*/")
    expect(page.locator(".dataset-title .status")).to_have_text("Ready", timeout=20_000)
    expect(page.locator(".report-cards")).to_contain_text("400")
    rows = page.locator(".row-view")
    expect(rows.first).to_contain_text("Answer with one JSON function call.")
    assert rows.count() >= 3

    page.get_by_role("link", name="Use in a new job").click()
    expect(page.get_by_label("Dataset", exact=True).locator("option:checked")).to_contain_text("brush strokes")
    page.locator("#offers tbody tr").first.wait_for()
    settings = {
        "max_steps": 60, "logging_steps": 1, "eval_steps": 30, "save_steps": 30, "max_length": 128, "r": 4,
        "learning_rate": 0.005, "held_out_samples": 2, "sample_max_new_tokens": 8,
    }  # fmt: skip
    fill_job(page, "first fire", "This machine", **settings)
    expect(page.locator('[data-plan="steps"]')).to_contain_text("60")
    start(page)

    loaded = page.evaluate("performance.timeOrigin")
    expect_status(page, "Running", 60)
    step = wait_step_beyond(page, 0)
    points = len(drawn_steps(page))
    wait_step_beyond(page, step)
    wait_drawn(page, points + 1)
    expect_status(page, "Completed", 60)
    expect(page.locator(".toast-item", has_text="Training completed")).to_be_visible()
    expect(page.locator("#end-banner")).to_contain_text("Training completed")
    expect(page.locator('[data-f="step"]')).to_have_text("60 / 60")
    wait_drawn(page, 60)
    assert drawn_steps(page) == stored_steps(page) == list(range(1, 61))
    assert drawn_steps(page, "Validation") == stored_steps(page, "eval_loss")

    page.get_by_role("tab", name="Samples").click()
    expect(page.locator(".sample")).to_have_count(2)
    answers = page.locator(".sample").first.locator(".answer")
    expect(answers).to_have_count(3)
    expect(answers.nth(0)).to_contain_text("Base model")
    expect(answers.nth(1)).to_contain_text("With the adapter")
    expect(answers.nth(1).locator("pre")).not_to_be_empty()
    tops = {round(answers.nth(i).bounding_box()["y"]) for i in range(2)}  # type: ignore[index]
    assert len(tops) == 1, "the answers stand side by side"
    with page.expect_download() as download:
        page.get_by_role("link", name="Adapter").click()
    assert download.value.suggested_filename.endswith(".zip")
    assert page.evaluate("performance.timeOrigin") == loaded, "the page was never loaded again"
    found += flaws(page)
    page.get_by_role("tab", name="Files").click()
    expect(page.locator("#file-list .file").first).to_contain_text("Adapter")
    expect(page.locator("#file-list .file").first).to_contain_text("Stored and verified")
    found += flaws(page, ".job-tabs")
    page.get_by_role("tab", name="Info").click()
    expect(page.locator("#attempt-list .attempt")).to_contain_text("Completed")
    found += flaws(page, ".job-tabs")
    assert not found, "\n".join(found)


def test_a_simulated_job_from_the_form_seen_on_both_pages(desk: Desk, paints: dict[str, Any]) -> None:
    page = desk.open(f"/jobs/new/?dataset={paints['id']}")
    page.locator("#offers tbody tr").first.wait_for()
    fill_job(page, "pretence", "Simulated GPU, 60 times faster", max_steps=60, logging_steps=1, max_length=256)
    page.locator("#h-per_device_train_batch_size").fill("8")
    page.locator("#h-gradient_accumulation_steps").fill("64")
    expect(page.locator('[data-plan="note"]')).to_contain_text("nothing is trained")
    jobs = desk.open("/jobs/")
    expect(jobs.locator("#link-state")).to_have_attribute("data-state", "live")
    loaded = jobs.evaluate("performance.timeOrigin")
    start(page)
    job_id = page.url.rstrip("/").rsplit("/", 1)[1]
    row = jobs.locator(f'[data-job="{job_id}"]')
    expect(row).to_be_visible(timeout=15_000)

    wait_step_beyond(page, 0)
    expect_status(page, "Completed")
    expect(page.locator(".tag-simulated").first).to_contain_text("nothing is trained")
    wait_drawn(page, 60)
    assert drawn_steps(page) == stored_steps(page) == list(range(1, 61))
    page.get_by_role("tab", name="Samples").click()
    expect(page.locator("#sample-list")).to_contain_text("A simulated run trains nothing")
    page.get_by_role("tab", name="Logs").click()
    expect(page.locator("#log")).to_contain_text("nothing is trained and the numbers are made up")
    page.get_by_label("Search the whole log").fill("step 30")
    expect(page.locator("#log mark")).to_have_count(1)
    expect(page.locator("#log-found")).to_contain_text("1 of")

    expect(row.locator(".status")).to_have_text("Completed")
    expect(row.locator('[data-f="steps"]')).to_have_text("60 / 60")
    assert jobs.evaluate("performance.timeOrigin") == loaded
    jobs.get_by_role("button", name="Notifications").click()
    expect(jobs.locator("#bell-list")).to_contain_text("pretence is completed")


def test_figures_follow_the_choices_and_nothing_starts_before_the_last_check(
    desk: Desk, paints: dict[str, Any], grace: Person
) -> None:
    """What one simulated job took is what the next one is estimated from."""
    teacher = simulate(grace.account, paints, "sim-1000x", steps=40, base_model="Qwen/Qwen2.5-0.5B-Instruct")
    grace.account.wait_ended(teacher)
    page = desk.open(f"/jobs/new/?dataset={paints['id']}&preset=quick-test")
    expect(page.locator("#data-facts")).to_contain_text("longest")
    page.locator("#offers tbody tr").first.wait_for()
    page.get_by_label("Name", exact=True).fill("looked at twice")
    page.get_by_label("Search the catalogue").fill("qwen 0.5b")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Model id")).to_have_value("Qwen/Qwen2.5-0.5B-Instruct")
    choose_machine(page, "Simulated GPU, 1,000 times faster")
    row = page.locator("#offers tr.chosen")
    expect(row.locator('[data-cell="fit"]')).to_contain_text("Fits")
    expect(row.locator('[data-cell="time"]')).to_contain_text("from 1 job")
    shown = page.locator('[data-plan="total"]').inner_text()
    page.locator("#h-max_steps").fill("400000")  # far more, so that the total of a fast machine moves, too
    expect(page.locator('[data-plan="total"]')).not_to_have_text(shown)
    expect(page.locator('[data-plan="time"]')).to_contain_text("from 1 job")
    page.locator("#h-r").fill("0")
    expect(page.locator('[data-error="hyperparameters.r"]')).to_contain_text("between 1 and 1,024")
    page.locator('[data-hyper="r"] [data-reset]').click()
    expect(page.locator('[data-error="hyperparameters.r"]')).to_be_empty()
    page.locator('[data-hyper="max_steps"] [data-reset]').click()

    page.get_by_role("button", name="Start training").click()
    last = page.get_by_role("dialog")
    expect(last).to_contain_text("looked at twice")
    expect(last.locator(".last-warnings")).to_contain_text("This is a simulation")
    expect(last.locator(".last-sentences")).to_contain_text("It will probably take")
    expect(last.get_by_role("button", name="Start")).to_be_focused()
    found = flaws(page, "#last-check")
    page.keyboard.press("Escape")
    expect(last).to_be_hidden()
    expect(page.get_by_role("button", name="Start training")).to_be_focused()
    page.keyboard.press("Enter")
    last.get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs/*-*/")
    expect_status(page, "Completed")
    assert not found, "\n".join(found)


def test_the_form_says_what_is_wrong_beside_the_field(desk: Desk, paints: dict[str, Any]) -> None:
    page = desk.open("/jobs/new/")
    page.locator("#offers tbody tr").first.wait_for()
    page.get_by_role("button", name="Start training").click()
    expect(page.locator('[data-error="name"]')).to_have_text("Give the job a name.")
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.get_by_label("Dataset", exact=True).select_option(paints["id"])
    fill_job(page, "wrong", "Simulated GPU, 60 times faster", learning_rate="lots", r=0)
    # The browser reports the refusal that the form then explains.
    desk.forgive("the server responded with a status of 4(00|22)")
    page.get_by_role("button", name="Start training").click()
    for field in ("learning_rate", "r"):
        expect(page.locator(f'[data-error="hyperparameters.{field}"]')).not_to_be_empty()
        expect(page.locator(f"#h-{field}")).to_have_attribute("aria-invalid", "true")
        message = page.locator(f'[data-error="hyperparameters.{field}"]').inner_text()
        expect(page.locator(f"#h-{field}")).to_have_accessible_description(re.compile(re.escape(message)))
    found = flaws(page)
    assert not found, "\n".join(found)


def test_signing_in_by_password_leads_back(desk: Desk, browser: Browser, grace: Person, paints: dict[str, Any]) -> None:
    job_id = simulate(grace.account, paints, start=False)
    context = browser.new_context(base_url=desk.url, viewport=DESKTOP)
    page = desk.open(f"/jobs/{job_id}/", context)
    expect(page).to_have_url(f"{desk.url}/sign-in/?next=/jobs/{job_id}/")
    found = flaws(page)
    page.get_by_label("User name").fill(grace.name)
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found += flaws(page)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{desk.url}/jobs/{job_id}/")
    expect(page.get_by_role("button", name="Start training")).to_be_visible()
    expect(page.locator("#link-state")).to_have_attribute("data-state", "live")
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    desk.forgive("the server responded with a status of 410")
    page.goto("/sign-in/once/used-or-made-up/")
    expect(page.get_by_role("alert")).to_be_visible()
    found += flaws(page)
    desk.forgive(NOT_FOUND)
    page.goto("/nothing/here/")
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    found += flaws(page)
    assert not found, "\n".join(found)


def test_a_stranger_gets_the_page_of_what_does_not_exist(
    desk: Desk, browser: Browser, grace: Person, heidi: Person, paints: dict[str, Any]
) -> None:
    job_id = simulate(grace.account, paints, start=False)
    context = browser.new_context(base_url=desk.url, viewport=DESKTOP)
    page = desk.open("/sign-in/", context)
    heidi.sign_in(page)
    page.wait_for_url("**/jobs/")
    desk.forgive(NOT_FOUND)
    for path in (f"/jobs/{job_id}/", f"/datasets/{paints['id']}/"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
        assert grace.name not in page.content()
        assert "paints" not in page.content()
    found = flaws(page)
    assert not found, "\n".join(found)


def test_a_file_of_the_object_store_becomes_a_dataset(stack: Stack, desk: Desk, grace: Person) -> None:
    desk.forgive(r"Failed to load resource: the server responded with a status of 400")
    folder = stack.home / "buckets" / "training-files" / grace.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brought.jsonl").write_bytes(tiny.jsonl(30))
    page = desk.open("/datasets/new/")
    page.get_by_text("Or use a file that lies in the object store already").click()
    form = page.locator("#bring-in")
    form.get_by_role("button", name="Use this file").click()
    expect(form.locator(".field-error", has_text="Give the path of the file in the bucket.")).to_be_visible()
    form.get_by_label("Path in the bucket").fill(f"{grace.name}/missing.jsonl")
    form.get_by_role("button", name="Use this file").click()
    expect(form.locator(".field-error", has_text="There is no file")).to_be_visible()
    assert flaws(page, "#bring-in") == []
    form.get_by_label("Path in the bucket").fill(f"{grace.name}/brought.jsonl")
    form.get_by_role("button", name="Use this file").click()
    page.wait_for_url("**/datasets/*-*/")
    expect(page.locator(".dataset-title .status")).to_have_text("Ready", timeout=20_000)
