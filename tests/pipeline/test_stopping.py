"""Stops: by a person, by a limit, for a fault; and what is said before the machine is gone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipeline.decide import SILENCE
from pipeline.providers.base import CreateRequest, MachineState, Unavailable
from pipeline.services import stopping, submission
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel
from pipeline.states import EndReason, JobStatus
from tests.factories import make_job, make_user
from tests.fakes.provider import World
from tests.pipeline.steps import look, program_says, shift, submitted
from training.contract import ExitCode

pytestmark = pytest.mark.django_db


def test_cancel_before_submission_ends_at_once(world: World) -> None:
    job = make_job(make_user(), start=True)
    assert request_cancel(job.pk, actor="ann") is True
    stopping.stop(job.pk)
    job.refresh_from_db()
    assert (job.status, job.reason) == (JobStatus.CANCELLED, EndReason.CANCELLED_BY_USER)
    submission.submit(job.pk)
    assert world.count("create") == 0


def test_cancelled_is_said_only_when_the_machine_is_gone(world: World) -> None:
    job, attempt = submitted(world)
    world.stops_at_once = False
    request_cancel(job.pk)
    stopping.stop(job.pk)
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLING
    assert world.count("stop") == 1
    assert look(job).status == JobStatus.CANCELLING
    world.end(attempt.name)
    assert look(job).status == JobStatus.CANCELLED
    assert world.alive == []


def test_a_stop_that_fails_is_ordered_again_for_ever(world: World) -> None:
    job, _ = submitted(world)
    world.stop_error = Unavailable("500")
    request_cancel(job.pk)
    for _ in range(6):
        look(job)
    assert job.status == JobStatus.CANCELLING
    assert world.count("stop") >= 6
    world.stop_error = None
    look(job)
    assert look(job).status == JobStatus.CANCELLED


def test_a_job_whose_provider_is_not_installed_waits_for_it(world: World) -> None:
    job, _ = submitted(world)
    job.attempts.update(provider="uninstalled")
    request_cancel(job.pk)
    stopping.stop_due()
    assert look(job).status == JobStatus.CANCELLING, "its machine may still run"
    job.attempts.update(provider="scripted")
    look(job)
    assert look(job).status == JobStatus.CANCELLED
    assert world.alive == []


def test_cancelling_twice_gives_the_same_answer(world: World) -> None:
    job, _ = submitted(world)
    assert request_cancel(job.pk) is True
    assert request_cancel(job.pk) is False


def test_cancel_while_the_answer_to_create_is_unknown_waits_for_certainty(world: World) -> None:
    def lose(request: CreateRequest) -> None:
        raise Unavailable("cut")

    world.after_create = lose
    job, attempt = submitted(world)
    world.hidden.add(attempt.name)
    request_cancel(job.pk)
    stopping.stop(job.pk)
    look(job)
    assert job.status == JobStatus.CANCELLING, "no machine known is not no machine"
    world.hidden.clear()
    look(job)
    look(job)
    assert look(job).status == JobStatus.CANCELLED
    assert world.alive == []


def test_a_finished_program_cannot_be_cancelled_any_more(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "completed")
    with pytest.raises(Conflict, match="just finished"):
        request_cancel(job.pk)


def test_a_cancel_that_came_first_wins_over_the_last_word(world: World) -> None:
    job, attempt = submitted(world)
    request_cancel(job.pk)
    program_says(attempt, "stopped")
    world.end(attempt.name, exit_code=ExitCode.STOPPED)
    assert look(job).status == JobStatus.CANCELLED


def test_a_silent_program_is_stopped_and_tried_again(world: World) -> None:
    job, attempt = submitted(world)
    shift(attempt, first_contact_at=timedelta(hours=1), last_seen_at=SILENCE + timedelta(seconds=1))
    look(job)
    assert job.desired == "stop"
    assert job.status == JobStatus.INITIALIZING, "a fault is not a cancel"
    look(job)
    look(job)
    assert job.status == JobStatus.QUEUED
    assert job.desired == "run"


def test_a_program_that_never_calls_is_stopped(world: World) -> None:
    job, attempt = submitted(world)
    shift(attempt, machine_seen_at=timedelta(seconds=601))
    look(job)
    assert job.stop_reason == EndReason.START_TIMEOUT


def test_the_time_limit_ends_a_job_as_a_decision(world: World) -> None:
    job, attempt = submitted(world, max_duration=60)
    shift(attempt, first_contact_at=timedelta(seconds=180), last_seen_at=timedelta(0))
    look(job)
    assert job.status == JobStatus.CANCELLING
    look(job)
    assert look(job).status == JobStatus.CANCELLED
    assert job.reason == EndReason.DEADLINE_EXCEEDED


def test_a_program_that_stopped_itself_at_the_limit_ends_the_same_way(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "failed", "deadline_exceeded")
    world.end(attempt.name, exit_code=ExitCode.DEADLINE_EXCEEDED)
    assert look(job).status == JobStatus.CANCELLED
    assert job.reason == EndReason.DEADLINE_EXCEEDED


def test_an_exited_machine_is_removed_before_the_attempt_closes(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "completed")
    world.change(attempt.name, state=MachineState.EXITED)
    look(job)
    assert world.count("force") == 1
    assert look(job).status == JobStatus.COMPLETED
