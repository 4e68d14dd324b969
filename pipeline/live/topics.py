"""What a socket can follow beside jobs. Other apps register theirs here; this package imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

# For several users at once, so that the cost does not grow with the number of open pages: user id -> JSON-ready body
# of their frame. A user who is not in the answer gets no frame. Called outside the event loop, may query the database.
Snapshot = Callable[[Collection[int]], Mapping[int, dict[str, Any]]]

_snapshots: dict[str, Snapshot] = {}


def register(name: str, snapshot: Snapshot) -> None:
    """Let sockets subscribe to `name`; their frames are {"t": name} and what `snapshot` says.

    It is asked at the subscription, after `hints.publish_user`, and every few seconds; unchanged answers are not sent.
    To be called from AppConfig.ready().
    """
    _snapshots[name] = snapshot


def registered(name: str) -> bool:
    return name in _snapshots


def snapshot(name: str, user_ids: Collection[int]) -> Mapping[int, dict[str, Any]]:
    return _snapshots[name](user_ids)
