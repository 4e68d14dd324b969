"""Real PostgreSQL and Valkey for every test that wants a database, in a folder that lives as long as the run."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import hypothesis
import pytest

from pipeline.config.embedded import Postgres, Valkey
from pipeline.config.supervisor import Stack

if TYPE_CHECKING:
    from django.test import Client
    from rest_framework.test import APIClient

# Before Django's settings load. Runs in parallel share one PostgreSQL, with a database each; all else is their own.
ROOT_VARIABLE = "STOKER_TESTS_FOLDER"
OWNS_FOLDER = ROOT_VARIABLE not in os.environ
FOLDER = Path(os.environ.setdefault(ROOT_VARIABLE, "") or tempfile.mkdtemp(prefix="stoker-tests-"))
os.environ[ROOT_VARIABLE] = str(FOLDER)
FOLDER.chmod(0o711)
POSTGRES_FOLDER = FOLDER / "postgres"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
for name in (
    "DATABASE_URL",
    "REDIS_URL",
    "DEBUG",
    "SECRET_KEY",
    "ALLOWED_HOSTS",
    "PORT",
    "HOST",
    "STOKER_PUBLIC_URL",
    "STOKER_PLAYGROUND",
):
    os.environ.pop(name, None)
OURS = ("STOKER_HOME", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE")
# What a product started by a test inherits: the machine's variables, none of this test process's own.
OUTSIDE = {name: value for name, value in os.environ.items() if name not in OURS}
os.environ["STOKER_HOME"] = str(FOLDER / WORKER)
os.environ["DATABASE_URL"] = f"postgresql:///stoker?user=postgres&host={POSTGRES_FOLDER}"
os.environ["DJANGO_SETTINGS_MODULE"] = "pipeline.config.settings"
# Playwright keeps an event loop running in its thread; Django would take each database call for one from async code.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

# No example fails for being slow: machines are shared. CI always tries the same examples, everybody else new ones.
hypothesis.settings.register_profile(
    "stoker",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
hypothesis.settings.load_profile("stoker")

# pytest-django looks for settings before this file is read, so it leaves the setting up to us.
django.setup()


def _end_in_order(number: int, frame: object) -> None:
    raise KeyboardInterrupt


# Without this, SIGTERM (a time limit of CI, say) would leave the servers behind.
signal.signal(signal.SIGTERM, _end_in_order)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share the running product run in one process, so that it is started once."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("stack"))
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Settings that a worker inherits are loaded by pytest-django before this file can name the worker's own folder."""
    os.environ.pop("DJANGO_SETTINGS_MODULE", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    if OWNS_FOLDER:
        os.environ.pop(ROOT_VARIABLE, None)
        shutil.rmtree(FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def services() -> Iterator[None]:
    """PostgreSQL and Valkey as the settings of this test process expect them."""
    postgres = Postgres(POSTGRES_FOLDER, durable=False)
    valkey = Valkey(Path(os.environ["STOKER_HOME"]) / "valkey")
    postgres.attach()
    valkey.attach()
    yield
    valkey.release()
    postgres.release()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings: None, services: None) -> None:
    """Makes pytest-django wait for the servers before it creates the test database."""


@dataclass
class Person:
    """Somebody who uses the product, with a browser and a program of theirs."""

    user: Any  # a User, or AnonymousUser
    browser: Client
    api: APIClient


def _person(username: str) -> Person:
    from django.contrib.auth import get_user_model
    from django.test import Client
    from rest_framework.test import APIClient

    user = get_user_model().objects.create_user(username, f"{username}@example.org", password=None)
    browser, api = Client(), APIClient()
    browser.force_login(user)
    api.force_login(user)
    return Person(user, browser, api)


@pytest.fixture
def owner(db: None) -> Person:
    """The person whose things a test is about."""
    return _person("owner")


@pytest.fixture
def stranger(db: None) -> Person:
    """Somebody signed in who may see nothing of the owner's."""
    return _person("stranger")


@pytest.fixture
def signed_out(db: None) -> Person:
    """Nobody in particular."""
    from django.contrib.auth.models import AnonymousUser
    from django.test import Client
    from rest_framework.test import APIClient

    return Person(AnonymousUser(), Client(), APIClient())


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The whole product, running: web, worker and beat on a port and a database of its own."""
    with Stack(FOLDER / f"stack-{WORKER}", port=free_port(), environment=OUTSIDE) as running:
        running.wait_ready(180)
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium. Without one the test is skipped, or fails where STOKER_REQUIRE_BROWSER=1."""
    for program in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(program):
            return path
    if os.environ.get("STOKER_REQUIRE_BROWSER") == "1":
        pytest.fail("STOKER_REQUIRE_BROWSER is 1, but there is no Chromium on this machine.")
    pytest.skip("There is no Chromium on this machine.")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
