"""What a provider says of machines, or does not say: only evidence ends anything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from pipeline.models import Attempt, Job, MetricPoint
from pipeline.services.jobs import request_cancel
from pipeline.states import AttemptState, EndReason, JobStatus
from tests.chaos.scenarios.world import KEY, World

NOTHING_HAPPENED = (JobStatus.RUNNING, AttemptState.LIVE)


def told(job: Job) -> tuple[str, str]:
    job.refresh_from_db()
    return job.status, job.attempts.order_by("-n")[0].state


@pytest.mark.scenario(23, "I2 I8")
def test_a_revoked_key_ends_nothing_and_a_new_one_goes_on(world: World) -> None:
    job, _, pod = world.rented()
    world.fake.account(KEY, revoked=True)
    program = world.program(job)
    for number in range(12):
        program.metrics(number + 2)
        world.live(15, step=15)
    assert told(job) == NOTHING_HAPPENED
    world.credential.refresh_from_db()
    assert "API key" in world.credential.problem
    assert job.events.filter(data__what="credential", level="error").count() == 1
    assert not pod.over
    world.fake.account(KEY, revoked=False)
    world.live(30)
    world.credential.refresh_from_db()
    assert world.credential.problem == ""
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(24, "I2")
def test_an_empty_list_while_five_machines_run_declares_none_of_them_gone(world: World) -> None:
    jobs = [world.start() for _ in range(5)]
    world.live(140)
    assert len(world.fake.pods()) == 5
    world.fake.fault("empty_list")
    world.live(90)
    assert {told(job)[1] for job in jobs} == {AttemptState.LIVE}
    assert not world.fake.calls("delete")
    world.fake.clear()
    for job in jobs:
        request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(25, "I2")
def test_a_pod_missing_from_one_list_is_left_alone(world: World) -> None:
    job, _, _ = world.rented()
    world.travel(200)
    world.program(job).metrics(2)
    world.fake.fault("hide", operation="*", times=2)
    world.live(60)
    assert told(job) == NOTHING_HAPPENED
    assert not world.fake.calls("delete")
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(26, "I3")
def test_a_pod_that_vanished_is_lost_within_90_s_and_its_token_is_dead(world: World) -> None:
    job, attempt, pod = world.rented()
    program = world.program(job)
    world.travel(200)
    program.metrics(2)
    world.fake.fault("vanish", name=pod.name)
    took = world.until(lambda: not Attempt.objects.get(pk=attempt.pk).is_open, within=90)
    assert took >= 30, "one look that misses it proves nothing"
    attempt.refresh_from_db()
    assert (attempt.reason, attempt.state) == (EndReason.VANISHED, AttemptState.GONE)
    assert program.send("events", {"events": []}).status_code == 410
    world.until(lambda: job.attempts.count() == 2, within=120)
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(26, "I3")
def test_where_the_policy_allows_one_attempt_a_lost_machine_fails_the_job(world: World) -> None:
    job, _, pod = world.rented(max_attempts=1)
    world.fake.fault("vanish", name=pod.name)
    world.travel(200)
    world.at_rest()
    assert (world.fresh(job).status, job.reason) == (JobStatus.FAILED, EndReason.VANISHED)


@pytest.mark.scenario(27, "I1 I5")
def test_a_preempted_pod_is_deleted_and_its_job_goes_on_in_step_order(world: World) -> None:
    job, attempt, pod = world.rented()
    world.program(job).metrics(1, 2, 3, 4)
    world.fake.fault("preempt", name=pod.name, grace=0)
    world.until(lambda: pod.over, within=60)
    world.until(lambda: world.pods(job), within=120)
    attempt.refresh_from_db()
    assert attempt.reason == EndReason.PREEMPTED
    world.live(20)
    world.program(job).metrics(3, 4, 5)
    steps = MetricPoint.objects.filter(job=job).order_by("step")
    assert list(steps.values_list("step", flat=True)) == [1, 2, 3, 4, 5]
    assert [point.attempt for point in steps] == [1, 1, 2, 2, 2]
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(42, "I6")
@pytest.mark.parametrize("hours", [1, -1])
def test_a_worker_whose_clock_is_wrong_moves_no_deadline_and_bills_no_hour(
    world: World, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _, _ = world.rented()
    right = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: right() + timedelta(hours=hours))
    world.live(60, step=20)
    assert told(job) == NOTHING_HAPPENED
    assert world.fresh(job).desired == "run"
    request_cancel(job.pk)
    world.at_rest()
    assert abs(world.fresh(job).current_cost - world.fake.bill()) < world.fake.bill() / 2


@pytest.mark.scenario(42, "I5")
def test_a_program_whose_clock_is_a_day_ahead_is_ordered_by_its_numbers(world: World) -> None:
    job, _, _ = world.rented()
    program = world.program(job)
    day = 86_400
    lines = [
        {"n": n, "t": 2e9 + (day if n % 2 else -day), "kind": "metric", "data": {"step": n, "loss": 1.0}}
        for n in range(2, 9)
    ]
    program.n = 1
    assert program.send("events", {"events": lines}).json()["acked"] == 8
    world.live(40, step=20)
    assert told(job) == NOTHING_HAPPENED
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(49, "I2")
@pytest.mark.parametrize("fault", [{"kind": "html"}, {"kind": "down"}, {"kind": "cut", "operation": "list"}], ids=str)
def test_answers_that_are_not_the_providers_mean_nothing(world: World, fault: dict[str, Any]) -> None:
    job, _, pod = world.rented()
    world.fake.fault(**fault)
    program = world.program(job)
    for number in range(5):
        program.metrics(number + 2)
        world.live(20, step=20)
    assert told(job) == NOTHING_HAPPENED
    assert not pod.over
    world.fake.clear()
    request_cancel(job.pk)
    world.at_rest()
