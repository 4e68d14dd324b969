"""Versions below these have faults that were met or published; a wider pin must not let one in."""

from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FLOORS = {
    "daphne": "4.2.2",  # CVE-2026-44545, CVE-2026-44546
    "celery": "5.7",  # workers that stay deaf after the broker comes back
    "kombu": "5.7",
    "cryptography": "50",
    "Django": "5.2.19",
    "django-celery-beat": "2.9",
    "django-otp": "1.7",
}


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_installed_version_is_at_least(package, floor):
    assert Version(version(package)) >= Version(floor)


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt", "training/requirements.txt"])
def test_requirements_are_pinned_and_name_no_index(file):
    for line in (ROOT / file).read_text().splitlines():
        words = line.partition("#")[0].strip()
        if words and not words.startswith("-r "):
            assert "==" in words, f"{file}: {words} is not pinned"
            assert "://" not in words
            assert not words.startswith("-")


def test_the_lock_of_the_browser_libraries_names_no_registry():
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()
