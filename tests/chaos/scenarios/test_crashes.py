"""A worker dies between any two lines, or oversleeps: the next one goes on, with one machine."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.models import Attempt, JobEvent
from pipeline.providers.base import CreateRequest, Machine
from pipeline.providers.runpod import RunPodProvider
from pipeline.services import observation, stopping, submission
from pipeline.services.jobs import request_cancel
from pipeline.states import AttemptState, JobStatus
from tests.chaos.scenarios.world import World


@pytest.mark.scenario(1, "I1 I8")
def test_death_before_the_intent_is_committed_leaves_the_job_queued(world: World) -> None:
    job = world.start()
    world.dies_at("intent.before_commit", submission.submit_due)
    assert world.fresh(job).status == JobStatus.QUEUED
    assert not job.attempts.exists()
    world.until(lambda: world.pods(job), within=90)
    assert (world.posts(), job.attempts.count()) == (1, 1)
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(2, "I1 I8")
@pytest.mark.parametrize("place", ["intent.after_commit", "create.before_call"])
def test_death_after_the_intent_goes_on_without_a_second_machine(world: World, place: str) -> None:
    job = world.start()
    world.dies_at(place, submission.submit_due)
    assert job.attempts.get().state == AttemptState.INTENT
    world.until(lambda: world.pods(job), within=400)
    assert world.created(job) == world.posts() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(3, "I1")
def test_death_before_the_answer_is_stored_is_healed_by_adoption(world: World) -> None:
    job = world.start()
    world.dies_at("create.after_call", submission.submit_due)
    assert len(world.pods(job)) == 1
    world.until(lambda: job.attempts.filter(state=AttemptState.LIVE), within=90)
    assert job.attempts.get().external_id == world.pods(job)[0].id
    assert world.posts() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(3, "I1")
def test_death_inside_the_call_of_an_attempt_made_long_ago_is_waited_out_too(world: World) -> None:
    """Its quarantine begins with the call, not with the attempt: else a list that lags would lead to a second pod."""
    job = world.start()
    world.dies_at("intent.after_commit", submission.submit_due)
    world.travel(3600)
    world.fake.fault("late", seconds=90)
    world.dies_at("create.after_call", observation.poll_due)
    world.live(85)
    assert (job.attempts.count(), world.posts()) == (1, 1)
    world.until(lambda: job.attempts.filter(state=AttemptState.LIVE), within=60)
    assert world.created(job) == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(4, "I10")
def test_death_between_the_machine_and_its_event_writes_the_event_once(world: World) -> None:
    job = world.start()
    world.dies_at("adopt.before_event", submission.submit_due)
    assert job.attempts.get().state == AttemptState.INTENT, "both are one transaction"
    world.until(lambda: job.attempts.filter(state=AttemptState.LIVE), within=90)
    assert JobEvent.objects.filter(job=job, data__what="created").count() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(5, "I3")
def test_death_between_the_delete_and_its_confirmation_repeats_the_delete(world: World) -> None:
    job, attempt, _ = world.rented()
    world.fake.fault("pretend", times=1)
    request_cancel(job.pk)
    world.travel(61)  # its program says nothing in its minute of grace
    world.dies_at("stop.after_call", stopping.stop_due)
    assert world.fresh(job).status == JobStatus.CANCELLING
    world.at_rest()
    attempt.refresh_from_db()
    assert attempt.gone_evidence
    assert len(world.fake.calls("delete")) >= 2
    assert world.fresh(job).status == JobStatus.CANCELLED


@pytest.mark.scenario(7, "I1 I4")
def test_a_worker_that_overslept_its_lease_writes_nothing(world: World) -> None:
    create = RunPodProvider.create

    def oversleep(self: Any, request: CreateRequest) -> Machine:
        machine = create(self, request)
        world.monkeypatch.setattr(RunPodProvider, "create", create)
        world.travel(61)
        world.round()
        return machine

    world.monkeypatch.setattr(RunPodProvider, "create", oversleep)
    job = world.start()
    submission.submit_due()
    attempt = Attempt.objects.get(job=job)
    assert attempt.state == AttemptState.LIVE, "the other worker adopted it"
    assert JobEvent.objects.filter(job=job, data__what="created").count() == 1
    request_cancel(job.pk)
    world.at_rest()
    assert world.posts() == 1


@pytest.mark.scenario(8, "I1 I10")
def test_everything_done_ten_times_comes_to_the_same(world: World) -> None:
    job = world.start()
    for _ in range(12):
        for _ in range(10):
            submission.submit(job.pk)
            observation.poll(job.pk)
        world.round()
        world.round()
        world.travel(5)
    assert (world.posts(), len(world.pods(job))) == (1, 1)
    request_cancel(job.pk)
    for _ in range(10):
        stopping.stop(job.pk)
    world.at_rest()
    moves = JobEvent.objects.filter(job=job, kind="status").order_by("seq").values_list("data__to", flat=True)
    assert list(moves) == ["pending", "queued", "initializing", "cancelling", "cancelled"]
