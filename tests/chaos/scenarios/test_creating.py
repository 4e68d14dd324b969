"""Answers to the request for a machine that were lost, late, broken or a no."""

from __future__ import annotations

import pytest

from pipeline.models import CallOutcome, ProviderCall
from pipeline.services.jobs import request_cancel
from pipeline.states import AttemptState, EndReason, JobStatus
from tests.chaos.scenarios.world import World


@pytest.mark.scenario(17, "I1")
@pytest.mark.parametrize("html", [False, True], ids=["json", "html"])
def test_a_500_after_which_the_pod_exists_leads_to_adoption(world: World, html: bool) -> None:
    world.fake.fault("error", operation="create", status=500, effect=True, html=html)
    job = world.start()
    world.live(30)
    assert job.attempts.get().state == AttemptState.LIVE
    assert world.created(job) == world.posts() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(18, "I1")
def test_a_lost_answer_whose_pod_is_listed_after_90_s_leads_to_adoption(world: World) -> None:
    world.fake.fault("lost", times=1)
    world.fake.fault("late", seconds=90)
    job = world.start()
    world.live(80)
    assert job.attempts.get().state == AttemptState.INTENT
    world.until(lambda: job.attempts.filter(state=AttemptState.LIVE), within=60)
    assert world.created(job) == world.posts() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(19, "I2")
def test_a_lost_pod_that_is_listed_after_200_s_is_ended_by_the_sweep_within_two_minutes(world: World) -> None:
    world.fake.fault("lost", times=1)
    world.fake.fault("late", seconds=200, name="*-a1")
    job = world.start()
    world.until(lambda: job.attempts.count() == 2, within=300)
    assert job.attempts.get(n=1).state == AttemptState.NEVER_CREATED
    world.until(lambda: len(world.pods(job)) == 2, within=60)
    world.until(lambda: [pod.name[-3:] for pod in world.pods(job)] == ["-a2"], within=320)
    second = world.fake.pods("*-a1", ended=True)[0]
    assert second.ended_at is not None
    assert second.ended_at - second.created_at < 200 + 120
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(20, "I1")
@pytest.mark.parametrize("kind", ["garbled", "short", "no_id"])
def test_an_answer_that_cannot_be_read_is_taken_for_unknown(world: World, kind: str) -> None:
    world.fake.fault(kind, times=1)
    job = world.start()
    world.live(30)
    assert ProviderCall.objects.get(attempt__job=job).outcome == CallOutcome.UNKNOWN
    assert job.attempts.get().state == AttemptState.LIVE
    assert world.created(job) == world.posts() == 1
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(21, "I1 I8")
def test_a_provider_that_asks_for_patience_gets_it(world: World) -> None:
    world.fake.fault("rate_limit", operation="create", retry_after=30, for_seconds=120)
    job = world.start()
    world.round()
    assert world.posts() == 1
    world.live(25)
    assert world.posts() == 1, "no second request before the 30 s are over"
    world.until(lambda: world.pods(job), within=180)
    assert 3 <= world.posts() <= 6
    assert job.attempts.count() == 1, "being turned away at the door costs no attempt"
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(22, "I8")
def test_no_capacity_is_waited_for_at_no_cost_and_with_a_reason(world: World) -> None:
    world.fake.fault("no_capacity")
    job = world.start(max_attempts=20)
    world.live(1500, step=15)
    assert world.fresh(job).status == JobStatus.QUEUED
    assert job.current_stage == "waiting_to_retry"
    assert job.current_cost == 0
    assert world.posts() < 12, "it waits longer from time to time"
    assert job.events.filter(message__contains="no machine of this type").exists()
    request_cancel(job.pk)
    world.round()
    assert world.fresh(job).status == JobStatus.CANCELLED
    world.at_rest()


@pytest.mark.scenario(22, "I8")
@pytest.mark.parametrize(
    ("kind", "reason"), [("no_funds", EndReason.NO_FUNDS), ("not_allowed", EndReason.PROVIDER_ERROR)]
)
def test_a_plain_no_ends_the_job_with_a_sentence(world: World, kind: str, reason: EndReason) -> None:
    world.fake.fault(kind)
    job = world.start()
    world.live(10)
    assert (world.fresh(job).status, job.reason) == (JobStatus.FAILED, reason)
    assert job.error_message.rstrip()
    assert world.posts() == 1
    world.at_rest()


@pytest.mark.scenario(32, "I3 I4")
@pytest.mark.parametrize("fault", ["", "lost", "error"])
def test_a_cancel_while_the_machine_is_asked_for_ends_without_one(world: World, fault: str) -> None:
    if fault == "lost":
        world.fake.fault("lost", times=1)
        world.fake.fault("late", seconds=60)
    elif fault == "error":
        world.fake.fault("error", operation="create", status=500, effect=False, times=1)
    job = world.start()
    world.round()
    request_cancel(job.pk)
    world.round()
    assert world.fresh(job).status == JobStatus.CANCELLING, "no machine known is not no machine"
    world.at_rest()
    assert world.fresh(job).status == JobStatus.CANCELLED
