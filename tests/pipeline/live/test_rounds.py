from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from pipeline import ingest
from pipeline.live import rounds
from pipeline.live.rounds import Follow, Known, Plan
from pipeline.models import Attempt, Job
from pipeline.states import JobStatus
from tests.factories import make_running_job, make_user

pytestmark = pytest.mark.django_db


def some_jobs(count: int) -> list[tuple[Job, Attempt]]:
    user = make_user()
    return [make_running_job(user)[:2] for _ in range(count)]


def plan_for(jobs: list[tuple[Job, Attempt]]) -> Plan:
    return Plan(jobs={job.pk: Known(job.event_seq, job.updated_at, [job.event_seq]) for job, _ in jobs})


@pytest.mark.parametrize("moved", [False, True], ids=["quiet", "all moved"])
def test_a_round_costs_the_same_for_one_job_and_for_fifty(moved: bool) -> None:
    counts = []
    for number in (1, 50):
        jobs = some_jobs(number)
        plan = plan_for(jobs)
        if moved:
            for _, attempt in jobs:
                ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
        with CaptureQueriesContext(connection) as queries:
            outcome = rounds.read(plan)
        assert len(outcome.frames) == (number if moved else 0)
        counts.append(len(queries))
    assert counts == ([6, 6] if moved else [1, 1])


def test_only_jobs_that_moved_get_frames() -> None:
    (quiet, _), (moved, attempt) = some_jobs(2)
    plan = plan_for([(quiet, attempt), (moved, attempt)])
    ingest.record_metrics(attempt.pk, [{"step": 4, "loss": 1.0}])
    outcome = rounds.read(plan)
    assert list(outcome.frames) == [(moved.pk, 0)]


def test_a_change_without_a_number_makes_a_frame_too() -> None:
    ((job, attempt),) = some_jobs(1)
    plan = plan_for([(job, attempt)])
    Job.objects.filter(pk=job.pk).update(name="renamed", updated_at=Now())
    ((frame, text),) = rounds.read(plan).frames.values()
    assert not frame.carries_rows
    assert "renamed" in text


def test_deleted_jobs_are_named() -> None:
    ((job, attempt),) = some_jobs(1)
    plan = plan_for([(job, attempt)])
    attempt.delete()
    job.delete()
    outcome = rounds.read(plan)
    assert outcome.gone == {next(iter(plan.jobs))}
    assert not outcome.frames


def test_following_is_granted_by_the_owner_alone() -> None:
    ((job, _),) = some_jobs(1)
    stranger = make_user()
    outcome = rounds.read(Plan(follows=[Follow(job.owner, job.pk, 0), Follow(stranger, job.pk, 0)]))
    assert outcome.granted == {(job.owner_id, job.pk)}


def test_a_crowd_of_windows_is_served_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAX_WINDOWS", 3)
    jobs = some_jobs(5)
    plan = plan_for(jobs)
    for _, attempt in jobs:
        ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
    outcome = rounds.read(plan)
    assert len(outcome.frames) == 3
    assert outcome.postponed == {job.pk for job, _ in jobs} - {job_id for job_id, _ in outcome.frames}


class TestLists:
    def news(self, user: Any, known: Any, **plan: Any) -> rounds.ListNews:
        return rounds.read(Plan(lists={user.pk: known}, **plan)).lists[user.pk]

    def test_the_first_frame_holds_what_is_current(self) -> None:
        ((job, _),) = some_jobs(1)
        old = make_running_job(job.owner)[0]
        Job.objects.filter(pk=old.pk).update(
            status=JobStatus.FAILED,
            reason="training_error",
            completed_at=Now(),
            final_cost=1,
            created_at="2020-01-01T00:00Z",
        )
        make_running_job(make_user())
        news = self.news(job.owner, None)
        assert str(job.pk) in str(news.text)
        assert str(old.pk) not in str(news.text)
        assert set(news.versions) == {job.pk}

    def test_unchanged_jobs_are_not_told_again(self) -> None:
        ((job, attempt),) = some_jobs(1)
        known = self.news(job.owner, None).versions
        assert self.news(job.owner, known).text is None
        ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
        news = self.news(job.owner, known)
        assert '"current_step":1' in str(news.text)
        assert self.news(job.owner, news.versions).text is None

    def test_an_end_is_told_without_a_hint_and_then_forgotten(self) -> None:
        ((job, _),) = some_jobs(1)
        Job.objects.filter(pk=job.pk).update(created_at="2020-01-01T00:00Z")
        known = self.news(job.owner, None).versions
        Job.objects.filter(pk=job.pk).update(
            status=JobStatus.FAILED, reason="training_error", completed_at=Now(), final_cost=1, event_seq=5
        )
        news = self.news(job.owner, known)
        assert '"status":"failed"' in str(news.text)
        assert news.versions == {}

    def test_a_hint_looks_at_that_job_only(self) -> None:
        (job, attempt), (other, other_attempt) = ((job, attempt) for job, attempt in some_jobs(2))
        Job.objects.filter(pk=other.pk).update(owner=job.owner)
        known = self.news(job.owner, None).versions
        for one in (attempt, other_attempt):
            ingest.record_metrics(one.pk, [{"step": 1, "loss": 1.0}])
        news = self.news(job.owner, known, hinted={job.pk}, whole_lists=False)
        assert str(job.pk) in str(news.text)
        assert str(other.pk) not in str(news.text)
        assert set(news.versions) == {job.pk, other.pk}

    def test_a_hint_about_somebody_elses_job_is_no_news(self) -> None:
        ((job, _),) = some_jobs(1)
        other = make_running_job(make_user())[0]
        known = self.news(job.owner, None).versions
        assert self.news(job.owner, known, hinted={other.pk}, whole_lists=False).text is None

    def test_more_jobs_than_fit_come_with_the_next_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rounds, "MAX_LISTED", 2)
        jobs = some_jobs(5)
        owner, known, shown = jobs[0][0].owner, None, set()
        for _ in range(3):
            news = self.news(owner, known)
            known = news.versions
            shown |= {job.pk for job, _ in jobs if str(job.pk) in str(news.text)}
        assert shown == {job.pk for job, _ in jobs}
        assert self.news(owner, known).text is None

    def test_a_deleted_job_is_gone(self) -> None:
        ((job, attempt),) = some_jobs(1)
        known = self.news(job.owner, None).versions
        owner, name = job.owner, str(job.pk)
        attempt.delete()
        job.delete()
        news = self.news(owner, known)
        assert f'"gone":["{name}"]' in str(news.text)
        assert news.versions == {}


def test_a_topic_that_fails_does_not_spoil_the_round(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    ((job, attempt),) = some_jobs(1)
    plan = plan_for([(job, attempt)])
    plan.topics = {"broken": {job.owner_id}}
    monkeypatch.setattr("pipeline.live.topics._snapshots", {"broken": lambda users: 1 / 0})
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
    assert len(rounds.read(plan).frames) == 1
    assert "broken" in caplog.text
