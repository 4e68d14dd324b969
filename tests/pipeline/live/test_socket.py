"""The socket's conversation, against the real database and Valkey, on the server side of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from pipeline import ingest, transitions
from pipeline.live import hints, tailer, topics
from pipeline.models import EventType, Job
from tests.factories import make_running_job
from tests.pipeline.live.page import Page, points

pytestmark = pytest.mark.django_db(transaction=True)

OpenPage = Callable[..., Page]


class TestWhoMaySee:
    def test_the_owner_follows_the_job(self, open_page: OpenPage, owner: Any) -> None:
        job, attempt, _ = make_running_job(owner.user)
        ingest.record_metrics(attempt.pk, points(0, 4))
        page = open_page(owner)
        page.follow(job)
        frame = page.hears("job")
        assert (frame["after"], frame["seq"]) == (0, 1)
        ingest.record_metrics(attempt.pk, points(5, 5))
        page.sees(lambda: 5 in page.view(job).points, "the new point")

    def test_to_a_stranger_the_job_does_not_exist(self, open_page: OpenPage, owner: Any, stranger: Any) -> None:
        job, attempt, _ = make_running_job(owner.user)
        page = open_page(stranger)
        page.follow(job)
        error = page.hears("error")
        assert (error["code"], error["id"]) == ("not_found", str(job.pk))
        ingest.record_metrics(attempt.pk, points(0, 0))
        page.say({"subscribe": "job", "id": "00000000-0000-0000-0000-000000000000"})
        page.sees(lambda: len([f for f in page.heard if f["t"] == "error"]) == 2, "the same answer")
        assert not [frame for frame in page.heard if frame["t"] == "job"]

    def test_who_is_signed_out_is_told_so_after_the_acceptance(self, open_page: OpenPage, signed_out: Any) -> None:
        page = open_page(signed_out)
        assert page.accepted
        assert page.closes() == 4401

    def test_a_made_up_session_is_nobody(self, open_page: OpenPage, owner: Any) -> None:
        owner.browser.cookies["stoker_session"] = "x" * 32
        page = open_page(owner)
        assert page.closes() == 4401

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil.example"])
    def test_another_sites_page_is_refused(self, open_page: OpenPage, owner: Any, origin: str) -> None:
        page = open_page(owner, origin=origin)
        assert not page.accepted


class TestAgainEveryMinute:
    @pytest.fixture(autouse=True)
    def quickly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tailer, "SESSION_SECONDS", 0.1)
        monkeypatch.setattr(tailer, "TICK_SECONDS", 0.1)

    def test_signing_out_ends_the_socket(self, open_page: OpenPage, owner: Any) -> None:
        page = open_page(owner)
        page.say({"subscribe": "jobs"})
        page.hears("jobs")
        owner.browser.logout()
        assert page.closes() == 4401

    def test_a_deactivated_person_is_cut_off(self, open_page: OpenPage, owner: Any) -> None:
        page = open_page(owner)
        page.say({"subscribe": "jobs"})
        page.hears("jobs")
        owner.user.is_active = False
        owner.user.save()
        assert page.closes() == 4401

    def test_a_new_password_ends_old_sessions(self, open_page: OpenPage, owner: Any) -> None:
        page = open_page(owner)
        page.say({"subscribe": "jobs"})
        page.hears("jobs")
        owner.user.set_password("another long password")
        owner.user.save()
        assert page.closes() == 4401

    def test_a_job_that_changed_hands_is_lost(self, open_page: OpenPage, owner: Any, stranger: Any) -> None:
        job, _, _ = make_running_job(owner.user)
        other, _, _ = make_running_job(owner.user)
        page = open_page(owner)
        for one in (job, other):
            page.follow(one)
            page.hears("job", lambda frame, pk=str(one.pk): frame["id"] == pk)
        Job.objects.filter(pk=job.pk).update(owner=stranger.user)
        assert (page.hears("error"))["id"] == str(job.pk)
        assert page.closed is None, "it still follows the other one"

    def test_a_valid_session_lives_on(self, open_page: OpenPage, owner: Any, live: Any) -> None:
        job, attempt, _ = make_running_job(owner.user)
        page = open_page(owner)
        page.follow(job)
        page.hears("job")
        reader = live()
        (socket,) = reader.sockets
        for _ in range(3):
            checked = reader.sockets[socket]
            page.sees(lambda before=checked: reader.sockets[socket] > before, "the next check")
        ingest.record_metrics(attempt.pk, points(0, 0))
        page.sees(lambda: page.view(job).points, "the point")


def test_a_deleted_job_closes_the_page(open_page: OpenPage, owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    attempt.delete()
    job.delete()
    assert page.closes() == 4410


def test_a_page_that_comes_back_gets_exactly_what_it_missed(open_page: OpenPage, owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    first = open_page(owner)
    first.follow(job)
    for step in range(5):
        ingest.record_metrics(attempt.pk, points(step, step))
    first.sees(lambda: first.view(job).seq == 5, "five points")
    first.leave()
    for step in range(5, 9):
        ingest.record_metrics(attempt.pk, points(step, step))
    second = open_page(owner)
    second.follow(job, after=first.view(job).seq)
    frame = second.hears("job")
    assert (frame["after"], frame["seq"], frame["metrics"]["step"]) == (5, 9, [5, 6, 7, 8])


def test_nothing_is_missed_or_repeated_under_six_writers(open_page: OpenPage, owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    writers, rounds = 6, 25

    def write(writer: int) -> None:
        try:
            for k in range(rounds):
                ingest.record_metrics(attempt.pk, [{"step": writer * 1000 + k, "loss": float(k)}])
                with transaction.atomic():
                    transitions.record_event(job.pk, EventType.WARNING, f"{writer} {k}")
        finally:
            connection.close()

    pages = [open_page(owner) for _ in range(3)]
    for page in pages:
        page.follow(job)
        page.hears("job")
    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(1, writers + 1)]
    for thread in threads:
        thread.start()
    late = open_page(owner)
    late.follow(job)
    total = writers * rounds * 2
    for page in [*pages, late]:
        page.sees(lambda page=page: page.view(job).seq == total, "the last number", timeout=30)
        view = page.view(job)
        assert not view.gaps
        assert sorted(view.points) == sorted(w * 1000 + k for w in range(1, writers + 1) for k in range(rounds))
        assert len(view.events) == len(set(view.events)) == writers * rounds
    for thread in threads:
        thread.join()


def test_a_long_history_comes_in_pieces_without_asking(open_page: OpenPage, owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    for batch in range(8):
        ingest.record_metrics(attempt.pk, points(batch * 1000, batch * 1000 + 999))
    page = open_page(owner)
    page.follow(job)
    page.sees(lambda: len(page.view(job).points) == 8000, "all points")
    assert not page.view(job).gaps
    assert any(frame.get("more") for frame in page.heard)


def test_a_second_page_is_no_news_to_the_first(
    open_page: OpenPage, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailer, "HEAD_SECONDS", 1_000)
    job, attempt, _ = make_running_job(owner.user)
    first, second = open_page(owner), open_page(owner)
    for page in (first, second):
        page.follow(job)
        page.hears("job")
    ingest.record_metrics(attempt.pk, points(0, 0))
    for page in (first, second):
        page.sees(lambda page=page: page.view(job).points, "the point")
    assert [frame["seq"] for frame in first.heard if frame["t"] == "job"] == [0, 1]


def test_unsubscribing_ends_the_frames(open_page: OpenPage, owner: Any, live: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    page.say({"unsubscribe": "job", "id": str(job.pk)})
    page.say({"subscribe": "jobs"})
    page.hears("jobs")
    assert not live()._jobs
    ingest.record_metrics(attempt.pk, points(0, 0))
    page.hears("jobs", lambda frame: frame["jobs"] and frame["jobs"][0]["current_metrics"])
    assert not page.view(job).points


def test_the_head_is_told_and_an_active_job_shown_anew(
    open_page: OpenPage, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailer, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(tailer, "TICK_SECONDS", 0.1)
    job, attempt, _ = make_running_job(owner.user, price_per_hour=1000)
    attempt.price_per_hour = 1000
    attempt.save()
    page = open_page(owner)
    page.follow(job)
    first = page.hears("job")
    assert (page.hears("head")) == {"t": "head", "id": str(job.pk), "seq": 0}
    page.hears("job", lambda frame: frame["job"]["current_cost"] > first["job"]["current_cost"])


class TestLists:
    def test_a_list_shows_its_own_jobs_as_they_change(self, open_page: OpenPage, owner: Any, stranger: Any) -> None:
        job, attempt, _ = make_running_job(owner.user)
        _, foreign_attempt, _ = make_running_job(stranger.user)
        page = open_page(owner)
        page.say({"subscribe": "jobs"})
        assert [one["id"] for one in (page.hears("jobs"))["jobs"]] == [str(job.pk)]
        ingest.record_metrics(foreign_attempt.pk, points(0, 0))
        ingest.record_metrics(attempt.pk, points(0, 3))
        page.hears("jobs", lambda frame: frame["jobs"] and frame["jobs"][0]["current_step"] == 3)
        created, _, _ = make_running_job(owner.user)
        page.hears("jobs", lambda frame: str(created.pk) in {one["id"] for one in frame["jobs"]})
        shown = {one["id"] for frame in page.heard if frame["t"] == "jobs" for one in frame["jobs"]}
        assert shown == {str(job.pk), str(created.pk)}

    def test_a_second_list_gets_everything_current_and_the_first_is_kept_right(
        self, open_page: OpenPage, owner: Any
    ) -> None:
        jobs = {str(make_running_job(owner.user)[0].pk) for _ in range(3)}
        for _ in range(3):
            page = open_page(owner)
            page.say({"subscribe": "jobs"})
            page.hears("jobs", lambda frame: {one["id"] for one in frame["jobs"]} == jobs)

    def test_a_busy_list_gets_at_most_two_frames_a_second(self, open_page: OpenPage, owner: Any) -> None:
        _, attempt, _ = make_running_job(owner.user)
        page = open_page(owner)
        page.say({"subscribe": "jobs"})
        page.hears("jobs")
        started = time.monotonic()
        step = 0
        while time.monotonic() < started + 2:
            step += 1
            ingest.record_metrics(attempt.pk, points(step, step))
        page.hears("jobs", lambda frame: frame["jobs"] and frame["jobs"][0]["current_step"] == step)
        frames = len([frame for frame in page.heard if frame["t"] == "jobs"])
        assert frames <= 2 * (time.monotonic() - started) + 2

    def test_another_app_brings_its_topic(
        self, open_page: OpenPage, owner: Any, stranger: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unread = {owner.user.pk: 0, stranger.user.pk: 7}
        monkeypatch.setattr(topics, "_snapshots", {})
        topics.register("bell", lambda users: {user: {"unread": unread[user]} for user in users})
        pages = [open_page(person) for person in (owner, stranger)]
        for page in pages:
            page.say({"subscribe": "bell"})
        assert pages[0].hears("bell") == {"t": "bell", "unread": 0}
        assert pages[1].hears("bell") == {"t": "bell", "unread": 7}
        unread[owner.user.pk] = 1
        hints.publish_user(owner.user.pk)
        pages[0].hears("bell", lambda frame: frame["unread"] == 1)
        assert len(pages[1].heard) == 1


def test_when_the_last_page_is_gone_everything_is_let_go(
    open_page: OpenPage, owner: Any, live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailer, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(tailer, "TICK_SECONDS", 0.05)
    job, attempt, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    page.leave()
    reader = live()
    page.sees(lambda: not reader._running and not reader._database.is_open, "the end of the reader")
    again = open_page(owner)
    again.follow(job)
    ingest.record_metrics(attempt.pk, points(0, 0))
    again.sees(lambda: again.view(job).points, "it started again")


def test_a_job_that_ends_is_shown_at_once(open_page: OpenPage, owner: Any) -> None:
    job, _, _ = make_running_job(owner.user)
    page = open_page(owner)
    page.follow(job)
    page.hears("job")
    transitions.advance(
        job.pk, transitions.JobStatus.FAILED, "It failed.", stage="ended", reason="training_error", final_cost=0,
        error_message="Out of luck", completed_at=Now(),
    )  # fmt: skip
    frame = page.hears("job", lambda frame: frame["job"]["status"] == "failed")
    assert frame["events"][0]["message"] == "It failed."
    assert frame["job"]["error_message"] == "Out of luck"
