"""The loop that needs PostgreSQL alone: a job's whole life without a broker, and what it leaves to others."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

import notifications.services
from datasets import nudge
from notifications.models import Notification
from pipeline.config import reconcile
from pipeline.models import AccountLook, Job, ProcessBeat
from pipeline.providers.base import Unavailable
from pipeline.services.jobs import request_cancel
from pipeline.states import JobStatus
from tests.factories import make_job
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.conftest import world
from tests.pipeline.steps import program_says
from tests.waiting import until

__all__ = ["world"]


@pytest.fixture
def frozen_broker(services: None) -> Iterator[None]:
    """A broker that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        working = current_app.conf.broker_write_url
        current_app.conf.broker_write_url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        yield
        current_app.conf.broker_write_url = working
        nudge.reset()


@contextmanager
def running(steps: list[reconcile.Step] | None = None) -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=reconcile.run, args=(stopping, steps))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(10)
        assert not thread.is_alive()


def once() -> None:
    Job.objects.active().update(next_check_at=Now())
    call_command("reconcile", once=True)


@pytest.mark.django_db
def test_a_job_lives_its_whole_life_without_celery(owner: Any, world: World) -> None:
    job = make_job(owner.user, start=True)
    once()
    job.refresh_from_db()
    assert job.status == JobStatus.INITIALIZING
    attempt = job.attempts.get()
    program_says(attempt, "completed")
    world.end(attempt.name, exit_code=0)
    once()
    job.refresh_from_db()
    assert job.status == JobStatus.COMPLETED
    assert Notification.objects.filter(owner=owner.user, type="job_completed").exists()
    assert ProcessBeat.objects.filter(name="reconcile").exists()
    assert AccountLook.objects.get().worked_at is not None


@pytest.mark.django_db
def test_a_job_is_cancelled_without_celery(owner: Any, world: World) -> None:
    job = make_job(owner.user, start=True)
    once()
    request_cancel(job.pk)
    once()
    once()
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLED
    assert world.alive == []


@pytest.mark.django_db(transaction=True)
def test_with_a_frozen_broker_a_stop_is_ordered_within_five_seconds_of_the_click(
    owner: Any, world: World, frozen_broker: None
) -> None:
    job, other = make_job(owner.user, start=True), make_job(owner.user)
    with running():
        until(lambda: world.count("create") == 1, 10, "the machine")
        owner.api.post(f"/api/jobs/{other.pk}/start/")  # whoever comes first learns that the broker is frozen
        clicked = time.monotonic()
        answer = owner.api.post(f"/api/jobs/{job.pk}/cancel/")
        answered = time.monotonic() - clicked
        assert answer.status_code == 202
        assert answered < 0.5
        until(lambda: world.count("stop") == 1, 10, "the stop order")
        assert time.monotonic() - clicked < 5
        until(lambda: Job.objects.get(pk=job.pk).status == JobStatus.CANCELLED, 10, "the end of the job")


@pytest.mark.django_db(transaction=True)
def test_it_goes_on_after_its_connections_were_cut(owner: Any, world: World, capfd: pytest.CaptureFixture[str]) -> None:
    steps = reconcile.steps(timedelta(0))
    for step in steps:
        step.every = min(step.every, 0.05)
    with running(steps):
        until(lambda: AccountLook.objects.exists(), what="the first round")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )
            assert cursor.fetchone()[0] >= 3
        job = make_job(owner.user, start=True)
        until(lambda: job.attempts.filter(state="live").exists(), what="a machine after the cut")
    said = capfd.readouterr().err
    assert "trying again" in said
    assert "Traceback" not in said


@pytest.mark.django_db(transaction=True)
def test_a_provider_that_hangs_in_a_look_does_not_hold_up_a_stop(
    owner: Any, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at, to_stop = [make_job(owner.user, start=True) for _ in range(2)]
    once()
    Job.objects.filter(pk=to_stop.pk).update(next_check_at=Now() + timedelta(hours=1))
    Job.objects.filter(pk=looked_at.pk).update(next_check_at=Now())
    hangs, release = threading.Event(), threading.Event()

    def hang(self: ScriptedProvider, refs: Any) -> Any:
        hangs.set()
        release.wait(20)
        raise Unavailable("Timed out.")

    monkeypatch.setattr(ScriptedProvider, "observe", hang)
    steps = reconcile.steps(timedelta(0))
    for step in steps:
        step.every = min(step.every, 0.05)
    with running(steps[:3]):
        try:
            until(hangs.is_set, what="a look that hangs")
            request_cancel(to_stop.pk)
            until(lambda: world.count("stop") == 1, what="the stop order")
        finally:
            release.set()


@pytest.mark.django_db
def test_jobs_that_celery_will_look_after_are_left_to_it(owner: Any, world: World) -> None:
    make_job(owner.user, start=True)
    by_name = {step.name: step for step in reconcile.steps()}
    assert by_name["Submit queued jobs"].run()
    assert world.count("create") == 0
    Job.objects.update(next_check_at=Now() - reconcile.GRACE - timedelta(seconds=1))
    assert by_name["Submit queued jobs"].run()
    assert world.count("create") == 1


@pytest.mark.django_db
def test_slow_work_is_done_only_while_beat_is_silent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    (notify,) = [step for step in reconcile.steps() if step.name == "Deliver notifications"]
    monkeypatch.setattr(notifications.services, "deliver_pending", lambda batch: done.append("delivered") or 0)
    beat = ProcessBeat.objects.create(name="beat", at=timezone.now())
    notify.run()
    assert done == []
    beat.at = timezone.now() - timedelta(minutes=1)
    beat.save()
    notify.run()
    assert done == ["delivered"]


def test_a_step_that_fails_says_so_once_and_when_it_works_again(caplog: pytest.LogCaptureFixture) -> None:
    errors: list[Exception | None] = [OperationalError("the server closed\nDETAIL: x"), ValueError("x"), None, None]

    def work() -> None:
        error = errors.pop(0)
        if error:
            raise error

    step = reconcile.Step("Cancel jobs", 1, work)
    with caplog.at_level(logging.INFO):
        assert [step.run() for _ in range(4)] == [False, False, True, True]
    assert [record.message for record in caplog.records] == [
        "Cancel jobs: not possible now (OperationalError: the server closed); trying again.",
        "Cancel jobs: works again, after 0 s.",
    ]
