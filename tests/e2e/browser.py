"""What the tests in a real browser share: people, pages that remember what went wrong on them, and looks at a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, Page, expect
from playwright.sync_api import Error as BrowserError

from pipeline.config.supervisor import Stack
from tests.e2e.account import Account

ROOT = Path(__file__).parents[2]

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PASSWORD = "a horse, a battery and a staple"
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
NARROW = {"width": 360, "height": 740}
expect.set_options(timeout=20_000)
# What a browser itself says about a server that it cannot reach.
UNREACHABLE = r"WebSocket connection to|Failed to load resource: net::ERR|WebSocket is closed before"
NOT_FOUND = r"Failed to load resource: the server responded with a status of 404"


# ---- people


@dataclass
class Person:
    """Somebody with a password, and with an account for what a test prepares over the API."""

    name: str
    account: Account

    def sign_in(self, page: Page) -> None:
        """Fill in the form of the sign-in page that is shown."""
        page.get_by_label("User name").fill(self.name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()


def make_people(stack: Stack, names: list[str]) -> list[Person]:
    code = (
        "from django.contrib.auth.models import User;"
        "from pipeline.models.access import *;"
        f"[(u := User.objects.create_user(name, password={PASSWORD!r}), t := new_token(API_TOKEN_PREFIX),"
        "ApiToken.objects.create(owner=u, name='test', token_hash=token_hash(t), hint=t[-4:]), print(t))"
        f" for name in {names!r}]"
    )
    tokens = stack.manage("shell", "--no-imports", "-c", code).split()[-len(names) :]
    people = []
    for name, token in zip(names, tokens, strict=True):
        http = requests.Session()
        http.headers["Authorization"] = f"Bearer {token}"
        people.append(Person(name, Account(name, stack, http)))
    return people


# A simulated machine that is 60 times faster does about eleven of these steps in a second.
STEADY = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 64, "max_length": 256,
    "logging_steps": 1, "eval_steps": 20,
}  # fmt: skip


def simulate(account: Account, dataset: dict[str, Any], gpu: str = "sim-60x", steps: int = 120, **fields: Any) -> str:
    """Create and start a simulated job; return its id."""
    machine = {"provider": "simulated", "type": gpu}
    return account.start(
        dataset, **{"name": gpu, "gpu_config": machine, "hyperparameters": {**STEADY, "max_steps": steps}, **fields}
    )


# ---- pages


@dataclass
class Desk:
    """Opens pages and keeps what the browser complains about on any of them."""

    default: Callable[[], BrowserContext]
    url: str
    complaints: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    def open(self, path: str = "", context: BrowserContext | None = None, url: str = "") -> Page:
        """A new page, at `path` when one is given."""
        page = (context or self.default()).new_page()
        self.pages.append(page)
        page.on("console", lambda message: self._heard(page, message.type, message.text))
        page.on("pageerror", lambda error: self._heard(page, "error", str(error)))
        if path:
            page.goto((url or self.url) + path)
        return page

    def forgive(self, pattern: str) -> None:
        """Complaints that match belong to what the test does."""
        self.forgiven.append(pattern)

    def check(self) -> None:
        assert not self.complaints, "The browser's console says:\n" + "\n".join(self.complaints)

    def picture(self, folder: Path) -> list[str]:
        """Take a picture of every open page; their addresses and files."""
        found = []
        for number, page in enumerate(self.pages, 1):
            file = folder / f"{number}.png"
            try:
                page.screenshot(path=file, full_page=True, timeout=5000)
            except BrowserError as error:
                found.append(f"{page.url}: no picture: {error.message.splitlines()[0]}")
            else:
                found.append(f"{page.url}: {file}")
        return found

    def _heard(self, page: Page, kind: str, text: str) -> None:
        if kind in ("error", "warning", "assert") and not any(re.search(one, text) for one in self.forgiven):
            self.complaints.append(f"{page.url}: {kind}: {text}")


@contextmanager
def signed_in(browser: Browser, url: str, person: Person, **options: Any) -> Iterator[BrowserContext]:
    """A browser window of its own in which `person` is signed in."""
    context = browser.new_context(base_url=url, viewport=DESKTOP, **options)
    try:
        page = context.new_page()
        page.goto(f"{url}/sign-in/")
        person.sign_in(page)
        page.wait_for_url("**/jobs/")
        page.close()
        yield context
    finally:
        context.close()


# ---- looking at a job's page

# Chart.js keeps its charts by their canvas; nothing is put into the page for the tests.
_DRAWN = """name => {
  for (const canvas of document.querySelectorAll("#charts canvas")) {
    const line = window.Chart?.getChart(canvas)?.data.datasets.find((one) => one.label === name);
    if (line) return line.data.map((point) => point.x);
  }
  return [];
}"""


def drawn_steps(page: Page, line: str = "Training") -> list[int]:
    """The steps of the points that the loss chart shows."""
    return list(page.evaluate(_DRAWN, line))


def stored_steps(page: Page, name: str = "loss") -> list[int]:
    """The steps that the API tells, to whom `page` belongs, of the job that it shows."""
    job_id = page.url.split("/jobs/")[1].split("/")[0]
    answer = page.request.get(f"/api/jobs/{job_id}/metrics/?points=1500&names={name}")
    return list(answer.json()["series"][name]["step"])


def wait_drawn(page: Page, least: int) -> None:
    """Until the loss chart has at least so many points."""
    page.wait_for_function(f"least => ({_DRAWN})('Training').length >= least", arg=least)


def expect_status(page: Page, label: str, timeout: float = 40) -> None:
    expect(page.locator(".job-title .status")).to_have_text(label, timeout=timeout * 1000)


def step_shown(page: Page) -> int:
    return int(page.locator('[data-f="step"]').inner_text().split("/")[0].replace(",", ""))


def wait_step_beyond(page: Page, step: int) -> int:
    """Until the step counter shows more than `step`; what it shows then."""
    page.wait_for_function(
        "step => parseInt(document.querySelector('[data-f=step]').textContent.replaceAll(',', '')) > step", arg=step
    )
    return step_shown(page)


# ---- accessibility and width

AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
_RUN_AXE = """async ([root, rules]) => {
  const options = { resultTypes: ["violations"], preload: false };
  if (rules) options.runOnly = { type: "rule", values: rules };
  const result = await window.axe.run(root ? { include: [root] } : document, options);
  const tell = (one) => one.nodes.map((node) => `${one.id}: ${node.target} ${node.failureSummary}`);
  return result.violations.flatMap(tell);
}"""
# To their end at once: an animation of a page that is not in front may never get there by itself.
_STILL = """() => { for (const one of document.getAnimations())
  if (Number.isFinite(one.effect?.getComputedTiming().endTime)) one.finish(); }"""


def axe(page: Page, root: str = "", rules: list[str] | None = None) -> list[str]:
    """What axe-core finds wrong on the page, or only inside of `root`, by all its rules or only by `rules`."""
    page.evaluate(_STILL)
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    return list(page.evaluate(_RUN_AXE, [root, rules]))


_TOO_WIDE = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const inBox = (one) => one.parentElement?.closest(".table-wrap, .tabs, pre, .chips");
  const wide = [...document.querySelectorAll("main *, header *")]
    .filter((one) => one.getBoundingClientRect().right > width + 0.5 && !inBox(one));
  const names = wide.slice(0, 5).map((one) => `${one.tagName}.${one.className?.baseVal ?? one.className}`);
  return `${document.documentElement.scrollWidth} of ${width} pixels, because of ${names.join(", ")}`;
}"""


def flaws(page: Page, root: str = "") -> list[str]:
    """Everything that is wrong with how the page looks: on a desktop and a phone, light and dark, and when narrow.

    The structure of a page does not depend on its colours, so the dark page is only measured for contrast. A part of
    a page is looked at in light on the desktop and in dark on the phone.
    """
    found = []
    looks = [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")]
    for size, scheme in looks[:: 3 if root else 1]:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.locator(f'html[data-bs-theme="{scheme}"]').wait_for()
        rules = None if scheme == "light" else ["color-contrast"]
        where = f"{page.url} {root} {size['width']} {scheme}"
        found += [f"{where}: {flaw}" for flaw in axe(page, root, rules)]
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    if wide := page.evaluate(_TOO_WIDE):
        found.append(f"{page.url} {root} scrolls sideways at 360 pixels: {wide}")
    page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="light")
    return found
