"""Ask a worker to do something now instead of at the next beat.

A nudge is only a hint: the row that needs work says so itself (`next_check_at`), so a lost nudge costs one beat
interval. Therefore a nudge never raises, never waits long, and evaporates when no worker takes it within a minute.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from celery import current_app
from kombu.pools import ProducerPool

logger = logging.getLogger(__name__)

EXPIRES_SECONDS = 60
BREAK_SECONDS = 30

_lock = threading.Lock()
_silent_until = 0.0
_pools: dict[tuple[int, str], ProducerPool] = {}


def nudge(task: str, *args: Any, countdown: float | None = None) -> bool:
    """Publish `task` (its full name) once. Return False when the broker did not take it.

    After a failure the process publishes nothing for 30 seconds: with a frozen broker each request would otherwise
    wait for the socket timeout. The next one is then tried on a thread of its own, so that nobody waits again.
    `countdown` must stay under a minute; longer waits belong into `next_check_at`.
    """
    global _silent_until
    with _lock:
        if time.monotonic() < _silent_until:
            return False
        trying_again = _silent_until > 0
        if trying_again:
            _silent_until = time.monotonic() + BREAK_SECONDS
    if trying_again:
        threading.Thread(target=_publish, args=(task, args, countdown), daemon=True, name="try the broker").start()
        return False
    return _publish(task, args, countdown)


def _publish(task: str, args: tuple[Any, ...], countdown: float | None) -> bool:
    global _silent_until
    pool = None
    try:
        pool = _pool()
        with pool.acquire(block=True, timeout=2) as producer:
            current_app.send_task(
                task,
                args=args,
                countdown=countdown,
                expires=EXPIRES_SECONDS + (countdown or 0),
                retry=False,
                producer=producer,
            )
    except Exception as error:  # noqa: BLE001 - whatever the broker raises, the caller's work is already committed
        with _lock:
            _silent_until = time.monotonic() + BREAK_SECONDS
        if pool is not None:
            _forget(pool)
        logger.warning("The broker did not take %s (%s); the work is found without it.", task, type(error).__name__)
        return False
    if _silent_until:
        reset()
    return True


def reset() -> None:
    """Close the circuit breaker at once."""
    global _silent_until
    with _lock:
        _silent_until = 0.0


def _pool() -> ProducerPool:
    """Connections of this process that try once. Celery's own connect again for seconds, even with retry=False."""
    key = (os.getpid(), current_app.conf.broker_write_url or current_app.conf.broker_url)
    with _lock:
        if key not in _pools:
            connection = current_app.connection_for_write(transport_options={"max_retries": 0})
            _pools[key] = ProducerPool(connection.Pool(limit=10), limit=10)
        return _pools[key]


def _forget(pool: ProducerPool) -> None:
    """Drop connections that failed, so that the next nudge begins with new ones."""
    with _lock:
        for key in [key for key, kept in _pools.items() if kept is pool]:
            del _pools[key]
    try:
        pool.connections.force_close_all()
    except Exception:
        logger.debug("Closing a broken connection to the broker failed.", exc_info=True)
