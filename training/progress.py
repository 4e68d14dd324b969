"""Turns the trainer's own records into the metrics of the wire. No torch: plain numbers in, plain numbers out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


class Pace:
    """Live rates and the time left. `rows_per_step` is the effective batch; `clock` is monotonic seconds.

    Rates are of the steps since the last record, without the time that evaluation and saving took.
    """

    def __init__(self, rows_per_step: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows_per_step = rows_per_step
        self._clock = clock
        self._began = self._since = clock()
        self._first_step = self._since_step = 0
        self._tokens: float | None = None
        self._lost = 0.0
        self._paused_at: float | None = None

    def begin(self, step: int) -> None:
        self._began = self._since = self._clock()
        self._first_step = self._since_step = step

    def pause(self) -> None:
        """Called when something other than training begins: an evaluation or a save."""
        if self._paused_at is None:
            self._paused_at = self._clock()

    def go_on(self) -> None:
        if self._paused_at is not None:
            self._lost += self._clock() - self._paused_at
            self._paused_at = None

    def record(self, step: int, total_steps: int, num_tokens: float | None) -> dict[str, float]:
        now = self._clock()
        values = {"elapsed_seconds": round(now - self._began, 2)}
        if total_steps > 0:
            values["progress"] = round(100.0 * min(step, total_steps) / total_steps, 3)
        done = step - self._first_step
        if done > 0 and total_steps > 0:
            values["remaining_seconds"] = round((now - self._began) / done * max(total_steps - step, 0), 1)
        steps, seconds = step - self._since_step, now - self._since - self._lost
        if steps > 0 and seconds > 0:
            values["samples_per_second"] = round(steps * self._rows_per_step / seconds, 4)
            if num_tokens is not None and self._tokens is not None and num_tokens >= self._tokens:
                values["tokens_per_second"] = round((num_tokens - self._tokens) / seconds, 2)
            elif num_tokens is not None and self._since_step == 0:
                values["tokens_per_second"] = round(num_tokens / seconds, 2)
        if steps > 0:
            self._since, self._since_step, self._lost = now, step, 0.0
        if num_tokens is not None:
            self._tokens = num_tokens
        return values


def plain_numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Every number that the trainer logged; NaN and infinities stay. Texts, lists and truth values are no metrics."""
    numbers: dict[str, float] = {}
    for name, value in record.items():
        if hasattr(value, "item") and getattr(value, "size", 1) == 1:
            value = value.item()
        if isinstance(value, int | float) and not isinstance(value, bool):
            numbers[name] = value
    return numbers
