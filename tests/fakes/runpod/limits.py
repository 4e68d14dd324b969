"""Rate limits: counted per key and window of the imitated time, told in every answer."""

from __future__ import annotations

import threading

from tests.fakes.runpod.clock import Clock
from tests.fakes.runpod.replies import Reply, problem

WINDOWS = {"minute": 60, "hour": 3600, "day": 86_400}


class Limits:
    """`quota` may be lowered by tests. The real figures are not public; these are wide."""

    def __init__(self, clock: Clock) -> None:
        self.quota = {"minute": 6_000, "hour": 300_000, "day": 5_000_000}
        self._clock = clock
        self._lock = threading.Lock()
        self._used: dict[tuple[str, str], tuple[int, int]] = {}  # (who, window) -> (number of the window, calls in it)

    def count(self, who: str) -> tuple[Reply | None, dict[str, str]]:
        """Count a call: the refusal when it is one too many, and the headers that go with any answer."""
        now = self._clock.now()
        left: dict[str, int] = {}
        wait = {window: int(seconds - now % seconds) + 1 for window, seconds in WINDOWS.items()}
        with self._lock:
            for window, seconds in WINDOWS.items():
                number, used = self._used.get((who, window), (-1, 0))
                used = used + 1 if number == int(now // seconds) else 1
                self._used[who, window] = (int(now // seconds), used)
                left[window] = self.quota[window] - used
        headers = {
            "RateLimit": ", ".join(f'"{window}";r={max(0, left[window])};t={wait[window]}' for window in WINDOWS),
            "RateLimit-Policy": ", ".join(f'"{w}";q={self.quota[w]};w={seconds}' for w, seconds in WINDOWS.items()),
        }
        over = next((window for window in WINDOWS if left[window] < 0), None)
        if over is None:
            return None, headers
        return problem(429, f"rate limit exceeded for the {over} window", Retry_After=str(wait[over])), headers
