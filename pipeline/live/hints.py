"""Hints: "something of this job changed". They only make open pages look sooner; losing every one costs a second.

Published straight to Redis pub/sub: 0.1 ms and one connection a process, where a channel layer would need an event
loop and a connection for each sending thread. A Redis that is down or frozen may not hold up the caller, so calls
time out quickly and a failure keeps the publisher quiet for a while. Each web process listens on one connection.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from functools import cache
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

CHANNEL = "stoker:hints"
QUIET_SECONDS = 10.0
PING_AFTER = 5.0  # seconds without a message
PONG_WITHIN = 5.0
LONGEST_PAUSE = 5.0  # between attempts to reach Redis again
_quiet_until = 0.0
_lock = threading.Lock()


def publish(job_id: UUID) -> None:
    """Tell the web processes that a job has something new. Never raises, blocks for half a second at the most."""
    _send(f"job:{job_id}")


def publish_user(user_id: int) -> None:
    """Tell the web processes that the notifications of a user changed. As harmless as `publish`."""
    _send(f"user:{user_id}")


def _send(hint: str) -> None:
    global _quiet_until
    if time.monotonic() < _quiet_until:
        return
    try:
        _client().publish(CHANNEL, hint)
    except (redis.RedisError, OSError) as error:
        with _lock:
            _quiet_until = time.monotonic() + QUIET_SECONDS
        logger.warning("Hints pause for %.0f s, pages update each second instead: %s", QUIET_SECONDS, error)


@cache
def _client() -> redis.Redis:
    # No retries: redis-py would make three, seconds apart, while a request waits.
    return redis.Redis.from_url(
        settings.STOKER_HINTS_URL, socket_timeout=0.3, socket_connect_timeout=0.3, retry=Retry(NoBackoff(), 0)
    )


async def listen(received: Callable[[str], None], connected: Callable[[bool], None]) -> None:
    """Hand every hint to `received`, for ever; say through `connected` whether hints arrive at all.

    Redis may be down, restart, lose its data or freeze: the connection is made again, after pauses of up to 5 s.
    """
    pause = 0.2
    reachable = True
    while True:
        client = redis.asyncio.Redis.from_url(
            settings.STOKER_HINTS_URL,
            socket_timeout=PONG_WITHIN,
            socket_connect_timeout=2,
            retry=AsyncRetry(NoBackoff(), 0),
        )
        try:
            pubsub = client.pubsub(ignore_subscribe_messages=True)
            try:
                await pubsub.subscribe(CHANNEL)
                connected(True)
                if not reachable:
                    logger.info("Hints arrive again.")
                pause, reachable = 0.2, True
                await _pass_on(pubsub, received)
            finally:
                await pubsub.aclose()
        except (redis.RedisError, OSError) as error:  # asyncio's TimeoutError is an OSError
            if reachable:
                logger.warning("No hints from Redis, pages update each second instead: %s", error)
            reachable = False
        finally:
            connected(False)
            await client.aclose()
        await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads reconnecting processes, guards nothing
        pause = min(pause * 2, LONGEST_PAUSE)


async def _pass_on(pubsub: redis.asyncio.client.PubSub, received: Callable[[str], None]) -> None:
    """Raise TimeoutError when Redis neither sends anything nor answers a ping: it hangs, or the line is dead."""
    pinged = False
    while True:
        message = await pubsub.get_message(timeout=PONG_WITHIN if pinged else PING_AFTER)
        if message is not None:
            pinged = False
            if message["type"] == "message":
                received(message["data"].decode(errors="replace"))
        elif pinged:
            raise TimeoutError(f"Redis has not answered for {PONG_WITHIN:.0f} s")
        else:
            await pubsub.ping()
            pinged = True
