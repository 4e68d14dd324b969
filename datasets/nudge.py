"""Ask a worker to do something now instead of at the next beat.

A nudge is only a hint: the row that needs work says so itself (`next_check_at`), so a lost nudge costs one beat
interval. Therefore a nudge never raises, never waits long, and evaporates when no worker takes it within a minute.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from celery import current_app

logger = logging.getLogger(__name__)

EXPIRES_SECONDS = 60
BREAK_SECONDS = 30

_lock = threading.Lock()
_silent_until = 0.0


def nudge(task: str, *args: Any, countdown: float | None = None) -> bool:
    """Publish `task` (its full name) once. Return False when the broker did not take it.

    After a failure the process publishes nothing for 30 seconds: with a frozen broker each request would otherwise
    wait for the socket timeout. `countdown` must stay under a minute; longer waits belong into `next_check_at`.
    """
    global _silent_until
    if time.monotonic() < _silent_until:
        return False
    try:
        current_app.send_task(
            task, args=args, countdown=countdown, expires=EXPIRES_SECONDS + (countdown or 0), retry=False
        )
    except Exception as error:  # noqa: BLE001 - whatever the broker raises, the caller's work is already committed
        with _lock:
            _silent_until = time.monotonic() + BREAK_SECONDS
        logger.warning("The broker did not take %s (%s); beat will find the work.", task, type(error).__name__)
        return False
    return True


def reset() -> None:
    """Close the circuit breaker at once."""
    global _silent_until
    with _lock:
        _silent_until = 0.0
