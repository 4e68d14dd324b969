"""The scripted outside world, and what each test counts for the table of `make chaos`."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.pipeline.conftest import world

__all__ = ["world"]

SEED = int(os.environ.get("STOKER_CHAOS_SEED") or (1 if os.environ.get("CI") else random.randrange(10**6)))


class Counts:
    """What a test adds to the sums of the table: jobs, faults, leaks, doubles, lost, doubled, overspend."""

    def __init__(self, record: Callable[[str, Any], None]) -> None:
        self._record = record

    def add(self, **numbers: int) -> None:
        self._record("counts", numbers)

    def say(self, text: str) -> None:
        self._record("note", text)


@pytest.fixture
def counts(record_property: Callable[[str, Any], None]) -> Counts:
    return Counts(record_property)


@pytest.fixture(autouse=True)
def _scenario(request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]) -> None:
    marker = request.node.get_closest_marker("scenario")
    if marker is not None:
        record_property("scenario", [str(marker.args[0]), marker.args[1]])
