"""The whole product as a person's program sees it: over HTTP, with real processes, a real worker and real training."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from pipeline.config.supervisor import Stack
from tests.e2e.account import Account, make_account
from tests.e2e.browser import ARGUMENTS, Desk, Person, make_people, signed_in
from tests.training import tiny


@pytest.fixture(scope="session")
def models(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tiny model where the local provider looks for base models, named test/tiny."""
    python = trainer_python()
    target = stack.home / "models" / "test"
    if not target.exists():
        subprocess.run(
            [str(python), str(Path(tiny.__file__)), str(target)], check=True, capture_output=True, timeout=180
        )


def trainer_python() -> Path:
    from django.conf import settings

    python = Path(settings.STOKER_TRAINER_PYTHON)
    assert python.exists(), f"{python} is missing: run `make setup` first."
    return python


@pytest.fixture(scope="session")
def ada(stack: Stack, models: None) -> Account:
    return make_account(stack, "ada")


@pytest.fixture(scope="session")
def bob(stack: Stack) -> Account:
    return make_account(stack, "bob")


@pytest.fixture(scope="session")
def colours(ada: Account) -> dict[str, Any]:
    """A small dataset that passed its check."""
    dataset = ada.upload(tiny.jsonl())
    assert dataset["training_ready"], dataset
    return dataset


# In a real browser


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium. Gone before other folders' tests: Playwright keeps an event loop running as long as it lives."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def people(stack: Stack) -> list[Person]:
    return make_people(stack, ["grace", "heidi"])


@pytest.fixture(scope="session")
def grace(people: list[Person]) -> Person:
    """Whose jobs the browser shows."""
    return people[0]


@pytest.fixture(scope="session")
def heidi(people: list[Person]) -> Person:
    """Somebody else, who has nothing."""
    return people[1]


@pytest.fixture(scope="session")
def paints(grace: Person, models: None) -> dict[str, Any]:
    """A dataset of Grace's that is ready."""
    return grace.account.upload(tiny.jsonl(), "paints")


@pytest.fixture(scope="package")
def window(browser: Browser, stack: Stack, grace: Person) -> Iterator[BrowserContext]:
    """A window in which Grace is signed in."""
    with signed_in(browser, stack.url, grace) as context:
        yield context


@pytest.fixture
def desk(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Desk]:
    """Opens pages, in Grace's window unless told otherwise; nothing may be in their consoles at the end."""
    desk = Desk(lambda: request.getfixturevalue("window"), stack.url)
    yield desk
    try:
        desk.check()
    finally:
        for page in desk.pages:
            page.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure says where pictures of the pages are that the test had open."""
    desk = getattr(item, "funcargs", {}).get("desk")
    if call.when == "call" and call.excinfo and isinstance(desk, Desk):
        folder = Path(tempfile.mkdtemp(prefix="stoker-browser-"))
        call.excinfo.value.add_note("\n".join(["Pages:", *desk.picture(folder), *desk.complaints]))
    return (yield)
