"""How often something may be tried: counted in Redis, in one round trip, and where Redis is away as each limit says.

These are brakes against floods and guessing. What may be spent is no business of theirs: that is decided by rows under
a lock (pipeline.holds).
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from ipaddress import ip_address, ip_network

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.models import Count

logger = logging.getLogger(__name__)

QUIET_SECONDS = 10.0
ANSWER_WITHIN = 0.3
LONGEST = 2**31 - 1  # PostgreSQL's integer; whoever tries so often within one stretch waits anyway


class Without(Enum):
    """What happens while Redis cannot count."""

    OPEN = "everything is let through"
    DATABASE = "PostgreSQL counts, which is slower"


@dataclass(frozen=True)
class Limit:
    """At most `times` in `seconds`, which begin with the first time."""

    name: str
    times: int
    seconds: int
    without_redis: Without = Without.OPEN


@dataclass(frozen=True)
class Try:
    """One thing that somebody tries: `who` is whatever tells them apart, `cost` how many times it counts."""

    limit: Limit
    who: str
    cost: int = 1

    @property
    def key(self) -> str:
        digest = hashlib.sha256(self.who.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"stoker:tried:{self.limit.name}:{digest}"


# For each key its count after this time, and the milliseconds until it begins again. A key without an end (it cannot
# come from here, but a person may have made one) gets one.
_SCRIPT = """
local found = {}
for i, key in ipairs(KEYS) do
    local count = redis.call('INCRBY', key, ARGV[2 * i - 1])
    local left = redis.call('PTTL', key)
    if left < 0 then
        left = tonumber(ARGV[2 * i])
        redis.call('PEXPIRE', key, left)
    end
    found[#found + 1] = count
    found[#found + 1] = left
end
return found
"""

_lock = threading.Lock()
_quiet_until = 0.0


def take(*tries: Try) -> int:
    """Count each of them once. Return 0 when all are within their limits, else the seconds to wait, rounded up.

    What comes too often counts as well, and counting never moves the end of the stretch: whoever waits as long as they
    are told gets in. Never raises for Redis's sake; a DatabaseError passes where PostgreSQL has to count.
    """
    tries = tuple(one for one in tries if one.limit.times > 0)
    if not tries:
        return 0
    counted = _in_redis(tries)
    if counted is None:
        tries = tuple(one for one in tries if one.limit.without_redis is Without.DATABASE)
        counted = [_in_database(one) for one in tries]
    waits = [seconds for one, (count, seconds) in zip(tries, counted, strict=True) if count > one.limit.times]
    return max((max(1, math.ceil(seconds)) for seconds in waits), default=0)


def forget(*tries: Try) -> None:
    """Let them begin at nothing again: it was right what they tried."""
    keys = [one.key for one in tries]
    if _may_ask():
        try:
            _client().delete(*keys)
        except (redis.RedisError, OSError) as error:
            _be_quiet(error)
    Count.objects.filter(key__in=keys).delete()


def address_of(request: HttpRequest) -> str:
    """Where a request comes from, to count it by.

    Of an IPv6 address the network counts, because one customer has all of its 2**64 addresses.
    """
    address = exact_address_of(request)
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:100]
    return str(parsed) if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def exact_address_of(request: HttpRequest) -> str:
    """Behind a proxy that is trusted, what the proxy saw; never what the caller claims."""
    address = request.META.get("REMOTE_ADDR", "")
    proxies: int = settings.REST_FRAMEWORK["NUM_PROXIES"]  # type: ignore[assignment]
    claimed = [part.strip() for part in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if part.strip()]
    if proxies and claimed:
        address = claimed[-min(proxies, len(claimed))]
    return address


def _in_redis(tries: Sequence[Try]) -> list[tuple[int, float]] | None:
    if not _may_ask():
        return None
    arguments = [number for one in tries for number in (one.cost, one.limit.seconds * 1000)]
    try:
        found = _client().eval(_SCRIPT, len(tries), *(one.key for one in tries), *arguments)
    except (redis.RedisError, OSError) as error:
        _be_quiet(error)
        return None
    if _quiet_until:
        reset()
    return [(found[at], found[at + 1] / 1000) for at in range(0, len(found), 2)]


def _in_database(one: Try) -> tuple[int, float]:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO pipeline_count AS known (key, count, until)
            VALUES (%(key)s, %(cost)s, statement_timestamp() + %(seconds)s * interval '1 second')
            ON CONFLICT (key) DO UPDATE SET
                count = CASE WHEN known.until > statement_timestamp()
                    THEN LEAST(known.count::bigint + excluded.count, %(longest)s) ELSE excluded.count END,
                until = CASE WHEN known.until > statement_timestamp() THEN known.until ELSE excluded.until END
            RETURNING count, extract(epoch FROM until - statement_timestamp())::float8
            """,
            {"key": one.key, "cost": one.cost, "seconds": one.limit.seconds, "longest": LONGEST},
        )
        count, seconds = cursor.fetchone()
    return count, seconds


def _may_ask() -> bool:
    """Whether to ask Redis now. After a failure it is asked once in a while, by one request; the others do without."""
    global _quiet_until
    with _lock:
        if time.monotonic() < _quiet_until:
            return False
        if _quiet_until:
            _quiet_until = time.monotonic() + QUIET_SECONDS
        return True


def _be_quiet(error: Exception) -> None:
    global _quiet_until
    with _lock:
        _quiet_until = time.monotonic() + QUIET_SECONDS
    logger.warning("Redis does not count for %.0f s: %s", QUIET_SECONDS, error)


def reset() -> None:
    """Ask Redis again at once."""
    global _quiet_until
    with _lock:
        _quiet_until = 0.0


@cache
def _client() -> redis.Redis:
    # No retries: redis-py would make three, seconds apart, while a request waits.
    return redis.Redis.from_url(
        str(settings.CACHES["default"]["LOCATION"]),
        socket_timeout=ANSWER_WITHIN,
        socket_connect_timeout=ANSWER_WITHIN,
        retry=Retry(NoBackoff(), 0),
    )
