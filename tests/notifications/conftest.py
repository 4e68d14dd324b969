from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from notifications import destinations, outbox
from notifications.models import Delivery, Destination, Notification
from tests.fakes.receiver import FakeReceiver
from tests.pipeline.conftest import world

__all__ = ["world"]

_numbers = itertools.count(1)


@pytest.fixture
def receiver(settings: Any) -> Iterator[FakeReceiver]:
    """A receiver that may be called, as an operator may allow one inside the network."""
    with FakeReceiver() as running:
        settings.STOKER_PRIVATE_URLS = [*settings.STOKER_PRIVATE_URLS, running.url]
        yield running


@pytest.fixture
def webhook(owner: Any, receiver: FakeReceiver) -> Destination:
    return add(owner.user, receiver)


def add(user: Any, receiver: FakeReceiver, kind: str = "webhook", **fields: Any) -> Destination:
    values = {"name": f"destination {next(_numbers)}", "address": f"{receiver.url}/hook/of-{user.username}"} | fields
    return destinations.add(user, kind=kind, **values)[0]


@pytest.fixture
def notify(owner: Any) -> Callable[..., Notification]:
    def make(user: Any = None, **fields: Any) -> Notification:
        """A notification as the service makes it, with its deliveries."""
        values = {"type": "job_completed", "title": "It is done", "message": "Loss fell."} | fields
        notification = Notification.objects.create(owner=user or owner.user, **values)
        outbox.enqueue([notification])
        return notification

    return make


def the(notification: Notification) -> Delivery:
    """Its only delivery."""
    return notification.deliveries.get()
