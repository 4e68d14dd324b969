"""How often something may be tried: atomic, cheap, and as said when Redis is away."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.db import connection
from django.test import RequestFactory

from pipeline import throttles
from pipeline.throttles import Limit, Try, Without, address_of, forget, take

OPEN = Limit("test", 5, 60)
COUNTED = Limit("test-counted", 5, 60, Without.DATABASE)


@pytest.fixture(autouse=True)
def asked_anew(services: None) -> Iterator[None]:
    throttles.reset()
    yield
    throttles.reset()


@pytest.fixture
def who() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A Redis that answers nothing; returns what it was asked."""
    asked: list[Any] = []

    class Dead:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            raise redis.TimeoutError("no answer")

    monkeypatch.setattr(throttles, "_client", Dead)
    return asked


def test_the_sixth_of_five_waits_until_the_stretch_is_over(who):
    assert [take(Try(OPEN, who)) for _ in range(5)] == [0] * 5
    assert 58 <= take(Try(OPEN, who)) <= 60
    assert take(Try(OPEN, who + "'s neighbour")) == 0


def test_what_costs_more_counts_more(who):
    assert take(Try(OPEN, who, cost=5)) == 0
    assert take(Try(OPEN, who)) > 0


def test_no_limit_asks_nobody(who, no_redis):
    assert take(Try(Limit("none", 0, 60), who)) == 0
    assert no_redis == []


def test_several_are_counted_in_one_round_trip(who, monkeypatch):
    sent = []
    client = throttles._client()
    monkeypatch.setattr(client, "eval", lambda *args: sent.append(args) or type(client).eval(client, *args))
    short = Limit("test-short", 1, 5)
    assert take(Try(OPEN, who), Try(short, who)) == 0
    assert 1 <= take(Try(OPEN, who), Try(short, who)) <= 5
    assert len(sent) == 2


def test_a_stretch_ends_by_itself(who):
    brief = Limit("test-brief", 1, 1)
    assert take(Try(brief, who)) == 0
    assert take(Try(brief, who)) == 1
    throttles._client().pexpire(Try(brief, who).key, 1)
    deadline = time.monotonic() + 5
    while throttles._client().exists(Try(brief, who).key):
        assert time.monotonic() < deadline
    assert take(Try(brief, who)) == 0


@pytest.mark.django_db
def test_without_redis_nothing_waits_for_it_and_each_limit_does_as_it_says(who, no_redis):
    assert [take(Try(OPEN, who)) for _ in range(10)] == [0] * 10
    assert len(no_redis) == 1  # after the first failure nobody asks for a while
    assert [take(Try(COUNTED, who)) for _ in range(5)] == [0] * 5
    assert 58 <= take(Try(COUNTED, who)) <= 60
    assert len(no_redis) == 1


@pytest.mark.django_db
def test_only_one_request_finds_out_whether_redis_is_back(who, no_redis, monkeypatch):
    take(Try(OPEN, who))
    monkeypatch.setattr(throttles, "_quiet_until", time.monotonic() - 1)
    assert [throttles._may_ask() for _ in range(3)] == [True, False, False]


@pytest.mark.django_db
def test_a_count_in_the_database_begins_again_when_its_time_is_over(who, no_redis):
    one = Try(COUNTED, who, cost=6)
    assert take(one) > 0
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pipeline_count SET until = now() - interval '1 second' WHERE key = %s", [one.key])
    assert take(Try(COUNTED, who)) == 0


@pytest.mark.django_db
def test_what_is_forgotten_begins_again(who):
    for _ in range(6):
        take(Try(COUNTED, who))
    forget(Try(COUNTED, who))
    assert take(Try(COUNTED, who)) == 0


@pytest.mark.django_db
def test_what_is_forgotten_begins_again_without_redis(who, no_redis):
    for _ in range(6):
        take(Try(COUNTED, who))
    forget(Try(COUNTED, who))
    assert take(Try(COUNTED, who)) == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("redis_there", [True, False])
def test_side_by_side_no_more_get_through_than_may(who, redis_there, monkeypatch):
    if not redis_there:
        monkeypatch.setattr(throttles, "_may_ask", lambda: False)
    together = threading.Barrier(20)

    def attempt(_: int) -> int:
        together.wait()
        try:
            return take(Try(COUNTED, who))
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(attempt, range(20))).count(0) == 5


@pytest.mark.parametrize(
    ("proxies", "headers", "address"),
    [
        (0, {"REMOTE_ADDR": "192.0.2.1"}, "192.0.2.1"),
        (0, {"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "198.51.100.7"}, "192.0.2.1"),
        (1, {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "1.1.1.1, 198.51.100.7"}, "198.51.100.7"),
        (1, {"REMOTE_ADDR": "10.0.0.1"}, "10.0.0.1"),
        (2, {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"),
        (1, {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "2001:db8:1:2:3:4:5:6"}, "2001:db8:1:2::/64"),
        (1, {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "not an address"}, "not an address"),
    ],
)
def test_the_address_is_what_the_trusted_proxy_saw(proxies, headers, address, settings):
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": proxies}
    request = RequestFactory().get("/")
    request.META |= headers
    assert address_of(request) == address
