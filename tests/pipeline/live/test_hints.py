"""Redis may be stopped, emptied or frozen at any moment: pages lag a second and nothing is lost."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis

from pipeline import ingest
from pipeline.config.embedded import Valkey
from pipeline.live import hints, tailer
from tests.factories import make_running_job
from tests.pipeline.live.page import Page
from tests.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)

OpenPage = Callable[..., Page]
LONG = 60.0


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """How often the reader looks by itself. Long: what arrives soon, arrived by a hint."""
    return lambda value: monkeypatch.setattr(tailer, "TICK_SECONDS", value)


def follow(open_page: OpenPage, owner: Any, live: Any) -> tuple[Page, Any, Any]:
    job, attempt, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    until(lambda: live()._hints_arrive, what="the subscription to hints")
    return page, job, attempt


def lag(page: Page, job: Any, attempt: Any, step: int) -> float:
    """Seconds from the commit of a point to the page."""
    ingest.record_metrics(attempt.pk, [{"step": step, "loss": 1.0}])
    started = time.monotonic()
    page.sees(lambda: step in page.view(job).points, f"step {step}", timeout=15)
    return time.monotonic() - started


def test_a_hint_brings_the_frame_without_waiting_for_the_tick(
    own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, seconds: Any
) -> None:
    seconds(LONG)
    page, job, attempt = follow(open_page, owner, live)
    assert max(lag(page, job, attempt, step) for step in range(5)) < 5


def test_without_redis_pages_lag_a_second_and_catch_its_return(
    own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, seconds: Any, caplog: Any
) -> None:
    page, job, attempt = follow(open_page, owner, live)
    process = own_valkey.process()
    assert process is not None
    process.kill()
    until(lambda: not live()._hints_arrive, what="the loss of Redis")
    assert max(lag(page, job, attempt, step) for step in range(3)) < 2.5
    assert "pages update each second instead" in caplog.text
    own_valkey._start()
    until(lambda: live()._hints_arrive, 20, "the return of Redis")
    hints._quiet_until = 0
    seconds(LONG)
    page.sees(lambda: live()._next["tick"] > time.monotonic() + 10, "the last tick")
    assert lag(page, job, attempt, 100) < 5


def test_a_page_opened_while_redis_is_down_works(own_valkey: Valkey, open_page: OpenPage, owner: Any) -> None:
    process = own_valkey.process()
    assert process is not None
    process.kill()
    process.wait(10)
    job, attempt, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    assert lag(page, job, attempt, 1) < 2.5


def test_an_emptied_redis_changes_nothing(
    own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, seconds: Any
) -> None:
    seconds(LONG)
    page, job, attempt = follow(open_page, owner, live)
    with redis.Redis(unix_socket_path=str(own_valkey.socket)) as client:
        client.flushall()
    assert lag(page, job, attempt, 1) < 5


def test_a_frozen_redis_is_noticed_and_left(
    own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints, "PING_AFTER", 0.3)
    monkeypatch.setattr(hints, "PONG_WITHIN", 0.3)
    page, job, attempt = follow(open_page, owner, live)
    process = own_valkey.process()
    assert process is not None
    process.suspend()
    until(lambda: not live()._hints_arrive, what="the freeze to be noticed")
    assert lag(page, job, attempt, 1) < 2.5
    process.resume()
    until(lambda: live()._hints_arrive, 20, "hints to arrive again")


def test_a_quiet_redis_is_not_taken_for_a_frozen_one(
    own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(hints, "PING_AFTER", 0.05)
    page, _, _ = follow(open_page, owner, live)
    page.hears("head")
    assert live()._hints_arrive
    assert "No hints" not in caplog.text


class TestPublishing:
    @pytest.mark.parametrize("trouble", ["down", "frozen"])
    def test_a_broken_redis_holds_nobody_up_and_is_then_left_alone(
        self, own_valkey: Valkey, trouble: str, caplog: Any
    ) -> None:
        process = own_valkey.process()
        assert process is not None
        if trouble == "down":
            process.kill()
            process.wait(10)
        else:
            process.suspend()
        started = time.monotonic()
        hints.publish(uuid.uuid4())
        assert time.monotonic() - started < 1.5
        started = time.monotonic()
        for _ in range(1000):
            hints.publish(uuid.uuid4())
        assert time.monotonic() - started < 1
        assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1

    def test_a_hint_that_means_nothing_is_passed_over(
        self, own_valkey: Valkey, open_page: OpenPage, owner: Any, live: Any, seconds: Any
    ) -> None:
        seconds(LONG)
        page, job, attempt = follow(open_page, owner, live)
        with redis.Redis.from_url(f"unix://{own_valkey.socket}?db=1") as client:
            for nonsense in (b"job:x", b"user:y", b"\xff\xfe", b"", b"other:thing"):
                client.publish(hints.CHANNEL, nonsense)
        assert lag(page, job, attempt, 1) < 5
