"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(predicate: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Call `predicate` until it returns something true, and return that. Fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while not (result := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"Waited {timeout:g} s in vain for {what or 'a condition'}.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return result
