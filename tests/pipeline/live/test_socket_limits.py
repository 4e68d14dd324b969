"""What a socket puts up with: pages that do not keep up, and pages that talk nonsense."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import ingest
from pipeline.live import consumers, outbox, tailer
from tests.factories import make_running_job
from tests.pipeline.live.page import Page, points

pytestmark = pytest.mark.django_db(transaction=True)

OpenPage = Callable[..., Page]


class TestSlowPages:
    def test_a_page_that_never_acknowledges_is_closed(
        self, open_page: OpenPage, owner: Any, live: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "SILENT_SECONDS", 0.2)
        job, attempt, _ = make_running_job(owner.user)
        page = open_page(owner, acknowledge=False)
        page.follow(job)
        page.hears("job")
        ingest.record_metrics(attempt.pk, points(0, 0))
        assert page.closes() == 4408
        assert not live().sockets

    def test_a_page_behind_gets_one_frame_with_all_it_missed(
        self, open_page: OpenPage, owner: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "WINDOW_BYTES", 10)
        monkeypatch.setattr(tailer, "HEAD_SECONDS", 1_000)
        job, attempt, _ = make_running_job(owner.user)
        page = open_page(owner, acknowledge=False)
        quick = open_page(owner)
        for one in (page, quick):
            one.follow(job)
            one.hears("job")
        page.say({"ack": {}})
        ingest.record_metrics(attempt.pk, points(0, 0))
        page.sees(lambda: page.view(job).seq == 1, "the first point")
        for step in range(1, 20):
            ingest.record_metrics(attempt.pk, points(step, step))
        quick.sees(lambda: quick.view(job).seq == 20, "the quick page is at the end")
        assert page.view(job).seq == 1, "nothing was sent while it had no room"
        page.say({"ack": {str(job.pk): 1}})
        page.sees(lambda: page.view(job).seq == 20, "the rest")
        assert len([f for f in page.heard if f["t"] == "job" and f["metrics"]["step"]]) == 2


NONSENSE: list[Any] = [
    "{", "[]", "null", "7", '"x"', "[" * 9000, "{}", '{"subscribe": 5}', '{"subscribe": "all"}', '{"ack": [1]}',
    '{"subscribe": {"a": 1}}', '{"subscribe": "job"}', '{"subscribe": "job", "id": 5}',
    '{"subscribe": "job", "id": "x"}',
    '{"subscribe": "job", "id": null, "after": 1}', '{"ack": {"x": 1}}', '{"ack": null}', '{"unsubscribe": "job"}',
    '{"unsubscribe": ["job"]}', "\x00", "x" * 20_000, '{"subscribe": "notifications ", "id": 1}',
    *(json.dumps({"subscribe": "job", "id": "00000000-0000-0000-0000-000000000000", "after": after})
      for after in (-1, 1.5, "1", True, None, 2**63, 10**40)),
    '{"ack": {"00000000-0000-0000-0000-000000000000": -1}}',
]  # fmt: skip


class TestNonsense:
    @pytest.fixture(autouse=True)
    def patiently(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(consumers, "MAX_MISTAKES", 10_000)

    def test_each_is_answered_with_a_sentence_and_the_socket_lives(self, open_page: OpenPage, owner: Any) -> None:
        job, _, _ = make_running_job(owner.user)
        page = open_page(owner)
        for count, text in enumerate(NONSENSE, start=1):
            page.say(text)
            page.sees(lambda count=count: len(page.heard) == count, f"an answer to {text[:60]!r}")
            assert page.heard[-1]["t"] == "error", text
            assert page.heard[-1]["message"].endswith((".", "”."))
        page.say(b"\x00\xff")
        assert (page.hears("error", lambda frame: "bytes" in frame["message"]))["code"] == "malformed"
        page.follow(job)
        page.hears("job")

    def test_random_objects_never_break_it(self, open_page: OpenPage, owner: Any) -> None:
        job, _, _ = make_running_job(owner.user)
        chance = random.Random(7)
        values = [
            None,
            True,
            -1,
            0,
            2**70,
            1.5,
            "",
            "job",
            "jobs",
            "x",
            str(job.pk),
            [],
            {},
            {"a": {}},
            [[]],
            {str(job.pk): 1},
        ]
        page = open_page(owner)
        for _ in range(500):
            keys = chance.sample(["subscribe", "unsubscribe", "ack", "id", "after", "x"], chance.randint(0, 4))
            page.say({key: chance.choice(values) for key in keys})
        page.say({"unsubscribe": "job", "id": str(job.pk)})
        page.follow(job)
        page.hears("job")
        assert page.closed is None


def test_a_page_that_talks_nothing_but_nonsense_is_sent_away(open_page: OpenPage, owner: Any) -> None:
    page = open_page(owner)
    for _ in range(consumers.MAX_MISTAKES + 1):
        page.say("nonsense")
    assert page.closes() == 4403


def test_a_socket_follows_a_bounded_number_of_jobs(
    open_page: OpenPage, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_JOBS", 2)
    jobs = [make_running_job(owner.user)[0] for _ in range(3)]
    page = open_page(owner)
    for job in jobs:
        page.follow(job)
    assert (page.hears("error"))["code"] == "too_many"
    page.follow(jobs[0])
    page.sees(lambda: len([f for f in page.heard if f["t"] == "job" and f["id"] == str(jobs[0].pk)]) >= 2, "it again")
