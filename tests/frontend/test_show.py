from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from frontend import icons, show
from frontend.templatetags.stoker import STATUS_ICONS, setting
from pipeline.states import JobStatus


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "$0.00"),
        (Decimal("1234.5"), "$1,234.50"),
        ("0.1", "$0.10"),
        (0.0931, "$0.0931"),
        (1e-5, "<$0.0001"),
        (None, "–"),
        ("x", "–"),
    ],
)
def test_money(value: object, text: str) -> None:
    assert show.money(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.6, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3600, "1 h 00 min"),
        (86400, "1 d"),
        (90061, "1 d 1 h"),
        (-1, "–"),
        (None, "–"),
    ],
)
def test_duration(seconds: object, text: str) -> None:
    assert show.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12, "12 B"), (1500, "1.5 kB"), (35_200_000, "35.2 MB"), (812e6, "812 MB"), (2.5e9, "2.5 GB"), (None, "–")],
)
def test_size(value: object, text: str) -> None:
    assert show.size(value) == text


def test_numbers() -> None:
    assert (show.count(1234567), show.decimals(0.12345), show.epoch(1.5), show.epoch(3)) == (
        "1,234,567",
        "0.1234",
        "1.5",
        "3",
    )
    assert (show.decimals(float("nan")), show.whole_percent(99.9), show.whole_percent(None)) == ("–", "99%", "–")


def test_moments_come_as_text_or_as_datetimes() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert show.moment("2026-03-01T12:00:00Z") == show.moment(noon) == noon
    assert show.moment(None) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "on"), (0.0002, "0.0002"), (3.0, "3"), (0.0, "0"), (["a", "b"], "a, b"), (None, "–"), ("cosine", "cosine")],
)
def test_a_setting_is_written_as_one_types_it(value: object, text: str) -> None:
    assert setting(value) == text


@pytest.mark.skipif(icons.folder() is None, reason="The npm packages are not installed.")
def test_every_status_has_an_icon() -> None:
    assert set(STATUS_ICONS) == set(JobStatus.values)
    for name in STATUS_ICONS.values():
        assert "<path" in icons.svg(name)
    assert "<path" not in icons.svg("../../../package")


@pytest.mark.skipif(icons.folder() is None, reason="The npm packages are not installed.")
def test_every_icon_a_template_names_exists() -> None:
    for file in (Path(icons.__file__).parent / "templates").rglob("*.html"):
        text = file.read_text()
        words = re.findall(r"{% icon \"([^\"]+)\"", text) + re.findall(r'with status="\d+" icon="([^"]+)"', text)
        listed = re.search(r'{% for name in "([^"]+)"\|words %}', text)
        for name in words + (listed.group(1).split() if listed else []):
            assert icons.drawing(name), f"{file.name}: there is no icon called {name}"
