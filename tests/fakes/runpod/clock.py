"""The time at the imitated provider: ours, ours made faster, or moved by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


class Clock:
    """Seconds since 1970. `speed` 1 is real time, 60 a minute in each second, 0 stands still until `advance`.

    It goes on while the process is dead, as a provider's does: its anchors are the machine's own time.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._speed = speed
        self._ours = self._theirs = time.time()

    @property
    def speed(self) -> float:
        return self._speed

    def now(self) -> float:
        with self._lock:
            return self._now()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once; time never goes back."""
        if seconds < 0:
            raise ValueError("Time at a provider does not go back.")
        with self._lock:
            self._theirs += seconds

    def set_speed(self, speed: float) -> None:
        if speed < 0:
            raise ValueError("Time at a provider does not go back.")
        with self._lock:
            self._theirs, self._ours = self._now(), time.time()
            self._speed = speed

    def as_json(self) -> dict[str, float]:
        with self._lock:
            return {"speed": self._speed, "ours": self._ours, "theirs": self._theirs}

    def restore(self, saved: Mapping[str, Any]) -> None:
        with self._lock:
            self._speed, self._ours, self._theirs = saved["speed"], saved["ours"], saved["theirs"]

    def _now(self) -> float:
        return self._theirs + (time.time() - self._ours) * self._speed


def text(moment: float | None) -> str | None:
    """As the API writes times: 2026-11-22T10:00:00.000Z."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(moment: str) -> float:
    """Raise ValueError for what is no time."""
    return datetime.fromisoformat(moment).timestamp()
