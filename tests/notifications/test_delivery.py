"""From an event of a job to what its owner reads: once, at once, and with the facts a person wants."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications import services, signals, tasks
from notifications.models import Notification
from notifications.topics import snapshot
from pipeline.live import topics
from pipeline.models import EventType, Job, JobEvent, MetricPoint
from pipeline.services.jobs import delete_job
from pipeline.states import JobStatus
from pipeline.transitions import advance, record_event
from tests.factories import make_running_job, make_user

pytestmark = pytest.mark.usefixtures("world")


def running_job(owner: Any = None, **fields: Any) -> Job:
    job, *_ = make_running_job(owner or make_user())
    Job.objects.filter(pk=job.pk).update(**({"name": "Support bot"} | fields))
    job.refresh_from_db()
    return job


def end(job: Job, status: JobStatus, reason: str, **fields: Any) -> None:
    if status is JobStatus.CANCELLED:
        wish = {"desired": "stop", "stop_reason": reason, "stop_requested_at": Now()}
        assert advance(job.pk, JobStatus.CANCELLING, "Cancelling.", stage="stopping", **wish)
    assert advance(job.pk, status, "Over.", stage="ended", reason=reason, **({"final_cost": "1.234567"} | fields))


def machine_exists(job: Job, attempt: int = 1) -> None:
    record_event(job.pk, EventType.ATTEMPT, "Machine exists.", data={"what": "created"}, attempt=attempt)


def told() -> Notification:
    services.deliver_pending()
    return Notification.objects.get()


class TestWhatIsTold:
    def test_a_completed_job_with_its_loss_duration_and_cost(self, db):
        begun = timezone.now() - timedelta(minutes=12, seconds=5)
        job = running_job(started_at=begun)
        for step, loss in ((1, 2.5), (2, 1.0), (3, 0.25), (4, None)):
            MetricPoint.objects.create(job=job, step=step, seq=step, attempt=1, at=begun, loss=loss)
        end(job, JobStatus.COMPLETED, "completed")
        notification = told()
        assert notification.type == "job_completed"
        assert notification.owner == job.owner
        assert notification.title == "Support bot is completed"
        assert notification.message == (
            "Loss 2.5000 → 0.2500. Took 12 min 5 s. Cost $1.23. The adapter is ready to download."
        )
        assert notification.link == f"/jobs/{job.pk}/"
        assert (notification.metadata["first_loss"], notification.metadata["last_loss"]) == (2.5, 0.25)

    def test_a_free_job_without_metrics_names_neither(self, db):
        end(running_job(started_at=timezone.now()), JobStatus.COMPLETED, "completed", final_cost=0)
        assert told().message == "Took 0 s. The adapter is ready to download."

    def test_a_failed_job_says_why_and_what_to_do(self, db):
        end(running_job(), JobStatus.FAILED, "out_of_memory", error_message="CUDA out of memory.\nTraceback …")
        notification = told()
        assert (notification.type, notification.priority) == ("job_failed", "high")
        assert "Halve the batch size" in notification.message
        assert "It said: CUDA out of memory." in notification.message
        assert "Traceback" not in notification.message

    def test_a_cancelled_job_that_its_owner_cancelled(self, db):
        end(running_job(), JobStatus.CANCELLED, "cancelled_by_user")
        notification = told()
        assert (notification.type, notification.priority) == ("job_cancelled", "low")
        assert notification.message.startswith("Cancelled on request. Nothing runs any more.")

    def test_a_job_that_reached_its_budget_was_stopped(self, db):
        end(running_job(), JobStatus.CANCELLED, "budget_exceeded")
        notification = told()
        assert (notification.title, notification.priority) == ("Support bot was stopped", "high")

    def test_a_job_whose_first_machine_exists_has_started(self, db):
        machine_exists(running_job(gpu_count=2))
        notification = told()
        assert (notification.type, notification.message) == ("job_started", "2 × box at scripted.")

    def test_everything_else_is_silent_and_dealt_with(self, db):
        job = running_job()
        machine_exists(job, attempt=2)
        record_event(job.pk, EventType.WARNING, "Odd.")
        advance(job.pk, JobStatus.QUEUED, "Trying again.", stage="waiting_to_retry")
        assert services.deliver_pending() == 3
        assert not Notification.objects.exists()
        assert not JobEvent.objects.filter(notified_at=None).exists()


class TestOnce:
    def test_delivering_again_tells_nothing_again(self, db):
        end(running_job(), JobStatus.COMPLETED, "completed")
        assert (services.deliver_pending(), services.deliver_pending()) == (1, 0)
        JobEvent.objects.update(notified_at=None)  # as if the mark had been lost
        services.deliver_pending()
        assert Notification.objects.count() == 1

    def test_two_workers_side_by_side_share_the_events(self, transactional_db):
        jobs = [running_job() for _ in range(6)]
        for job in jobs:
            end(job, JobStatus.COMPLETED, "completed")
        done: list[int] = []

        def deliver() -> None:
            try:
                done.append(services.deliver_pending())
            finally:
                connection.close()

        workers = [threading.Thread(target=deliver) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        services.deliver_pending()
        assert Notification.objects.count() == 6
        assert len(done) == 4

    def test_a_crash_half_way_loses_nothing(self, db, monkeypatch):
        end(running_job(), JobStatus.COMPLETED, "completed")
        monkeypatch.setattr(services, "_hint_on_commit", lambda users: 1 / 0)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            services.deliver_pending()
        assert not Notification.objects.exists()
        monkeypatch.undo()
        services.deliver_pending()
        assert Notification.objects.count() == 1

    def test_the_task_works_through_more_than_one_batch(self, db, monkeypatch):
        monkeypatch.setattr(tasks, "BATCH", 2)
        job = running_job()
        for _ in range(5):
            record_event(job.pk, EventType.WARNING, "Odd.")
        assert tasks.deliver_due() == 5

    def test_many_events_need_no_more_queries_than_one(self, db):
        counts = []
        for jobs in (1, 7):
            for _ in range(jobs):
                end(running_job(), JobStatus.COMPLETED, "completed")
            with CaptureQueriesContext(connection) as queries:
                services.deliver_pending()
            counts.append(len(queries))
        assert counts[0] == counts[1]


class TestAtOnce:
    @pytest.fixture
    def nudged(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        tasks_asked_for: list[str] = []
        monkeypatch.setattr(signals, "nudge", tasks_asked_for.append)
        return tasks_asked_for

    def test_an_ending_wakes_the_delivery_after_the_commit(self, db, nudged, django_capture_on_commit_callbacks):
        job = running_job()
        with django_capture_on_commit_callbacks(execute=True):
            end(job, JobStatus.COMPLETED, "completed")
            assert not nudged
        assert nudged == ["notifications.tasks.deliver_due"]

    def test_other_events_wake_nobody(self, db, nudged, django_capture_on_commit_callbacks):
        job = running_job()
        with django_capture_on_commit_callbacks(execute=True):
            record_event(job.pk, EventType.WARNING, "Odd.")
            machine_exists(job, attempt=2)
        assert not nudged

    def test_open_pages_are_told_whose_bell_rings(self, db, monkeypatch, django_capture_on_commit_callbacks):
        users: list[int] = []
        monkeypatch.setattr(services.hints, "publish_user", users.append)
        job = running_job()
        end(job, JobStatus.COMPLETED, "completed")
        with django_capture_on_commit_callbacks(execute=True):
            services.deliver_pending()
        assert users == [job.owner_id]


class TestAfterwards:
    def test_what_was_told_outlives_the_job_but_leads_nowhere(self, db):
        job = running_job()
        end(job, JobStatus.COMPLETED, "completed")
        services.deliver_pending()
        delete_job(job.pk)
        notification = Notification.objects.get()
        assert notification.title == "Support bot is completed"
        assert notification.link == ""


class TestTopic:
    def test_the_bell_is_registered(self):
        assert topics.registered("notifications")

    def test_shows_count_and_newest_of_each_person(self, db):
        busy, idle = make_user(), make_user()
        for number in range(12):
            Notification.objects.create(owner=busy, type="job_completed", title=f"{number}")
        Notification.objects.filter(title="11").update(read_at=Now())
        shown = snapshot([busy.pk, idle.pk])
        assert shown[busy.pk]["unread"] == 11
        assert [item["title"] for item in shown[busy.pk]["items"]] == [str(n) for n in range(11, 1, -1)]
        assert shown[busy.pk]["items"][0]["read"] is True
        assert shown[idle.pk] == {"unread": 0, "items": []}

    def test_any_number_of_people_costs_two_queries(self, db, django_assert_num_queries):
        people = [make_user() for _ in range(5)]
        for person in people:
            Notification.objects.create(owner=person, type="job_completed", title="x")
        with django_assert_num_queries(2):
            assert len(snapshot([person.pk for person in people])) == 5
