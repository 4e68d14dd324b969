"""The local provider in a folder of its own, with nothing left running afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.pipeline.providers.conformance", "tests.pipeline.providers.harness")

from pipeline.providers.local.processes import members  # noqa: E402 - asserts are rewritten at import
from pipeline.providers.runpod import client  # noqa: E402
from tests.pipeline.providers.local_harness import LocalHarness, run_of  # noqa: E402
from tests.pipeline.providers.runpod_harness import RunPodHarness  # noqa: E402
from tests.waiting import until  # noqa: E402


@pytest.fixture
def local(settings: Any, tmp_path: Path) -> Iterator[LocalHarness]:
    home = tmp_path / "home"
    home.mkdir()
    harness = LocalHarness(settings, home)
    yield harness
    harness.close()
    for name in harness.names:  # the supervisor itself ends a moment after it wrote the exit code
        until(lambda name=name: not members(run_of(harness, name)), 5, "the last process to end")


@pytest.fixture
def runpod(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunPodHarness]:
    """The runpod provider before an imitated RunPod, with hardly any time between two tries."""
    monkeypatch.setattr(client, "PAUSES", (0.001, 0.001))
    monkeypatch.setattr(client, "READ_SECONDS", 2.0)
    harness = RunPodHarness(settings, tmp_path)
    yield harness
    harness.fake.close()
