from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.providers.runpod import catalog, client
from tests.chaos.scenarios.world import KEY, World
from tests.fakes.runpod import Boot, FakeRunPod


@pytest.fixture
def fake() -> Iterator[FakeRunPod]:
    with FakeRunPod({KEY: 1000}, speed=1, boot=Boot(1, 2, 1)) as running:
        yield running


@pytest.fixture
def outside(fake: FakeRunPod, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """RunPod is installed, and is the imitated one."""
    settings.STOKER_PROVIDERS = {"runpod": "pipeline.providers.runpod.RunPodProvider"}
    settings.RUNPOD_API_URL, settings.RUNPOD_GRAPHQL_URL = fake.url, fake.graphql_url
    settings.RUNPOD_IMAGE = "registry.example/stoker-trainer@sha256:" + "0" * 64
    settings.STOKER_PUBLIC_URL = "http://127.0.0.1:9"
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))
    catalog.forget()


@pytest.fixture
def world(db: None, outside: None, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(fake, monkeypatch)
