"""A nudge is a hint: it reaches the broker when there is one, and never troubles the caller when there is none."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app

from datasets import nudge as module
from datasets.nudge import nudge
from tests.conftest import Person
from tests.datasets.files import chats, upload
from tests.waiting import until

TASK = "datasets.tasks.check_dataset"


@pytest.fixture(autouse=True)
def closed_breaker() -> Iterator[None]:
    module.reset()
    yield
    module.reset()


@pytest.fixture
def frozen_broker(services: None) -> Iterator[None]:
    """A broker that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        working, current_app.conf.broker_write_url = (
            current_app.conf.broker_write_url,
            f"redis://127.0.0.1:{server.getsockname()[1]}/0",
        )
        yield
        current_app.conf.broker_write_url = working


def test_nudge_is_published(services: None) -> None:
    assert nudge(TASK, "some-id") is True
    assert nudge(TASK, "some-id", countdown=2) is True


def test_frozen_broker_costs_seconds_once_and_then_nothing(frozen_broker: None) -> None:
    began = time.monotonic()
    assert nudge(TASK, "some-id") is False
    assert time.monotonic() - began < 5
    began = time.monotonic()
    assert not any(nudge(TASK, "some-id") for _ in range(100))
    assert time.monotonic() - began < 0.5


def test_nobody_waits_for_the_next_try_after_a_failure(
    frozen_broker: None, monkeypatch: pytest.MonkeyPatch, services: None
) -> None:
    assert nudge(TASK, "some-id") is False
    monkeypatch.setattr(module, "_silent_until", 0.001)  # long ago
    began = time.monotonic()
    assert nudge(TASK, "some-id") is False
    assert nudge(TASK, "some-id") is False
    assert time.monotonic() - began < 0.5


def test_a_broker_that_is_back_is_found_by_the_next_try(services: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_silent_until", 0.001)
    nudge(TASK, "some-id")
    assert until(lambda: nudge(TASK, "some-id"))


@pytest.mark.django_db(transaction=True)
def test_upload_is_accepted_without_a_broker(owner: Person, frozen_broker: None) -> None:
    response = owner.api.post("/api/datasets/", {"file": upload(chats(2))}, format="multipart")
    assert response.status_code == 201


@pytest.mark.django_db(transaction=True)
def test_upload_asks_for_its_check_once_it_is_committed(owner: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **options: sent.append((name, args, options)))
    body = owner.api.post("/api/datasets/", {"file": upload(chats(2))}, format="multipart").json()
    ((name, args, options),) = sent
    assert (name, args) == (TASK, (body["id"],))
    assert options["retry"] is False
    assert options["expires"] == 60
