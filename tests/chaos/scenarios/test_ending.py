"""Stops that do not work, ends that race, and what is never said too early."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db.models import ProtectedError, Sum

from pipeline.models import Attempt, MetricPoint
from pipeline.services.errors import Conflict
from pipeline.services.jobs import delete_job, request_cancel
from pipeline.states import AttemptState, EndReason, JobStatus
from tests.chaos.scenarios.world import PRICE, World
from training.contract import ENV_MAX_SECONDS


@pytest.mark.scenario(28, "I3 I6")
def test_a_delete_that_fails_for_half_an_hour_is_repeated_and_shown_as_what_it_is(world: World) -> None:
    job, _, _ = world.rented()
    world.fake.fault("error", operation="delete", status=500)
    request_cancel(job.pk)
    world.live(200)
    assert (world.fresh(job).status, job.current_stage) == (JobStatus.CANCELLING, "still_billed")
    assert not job.events.filter(data__what="still_billed").exists()
    world.live(1600, step=60)
    assert world.fresh(job).status == JobStatus.CANCELLING
    assert job.events.filter(data__what="still_billed").count() == 1
    assert len(world.fake.calls("delete")) > 15
    world.fake.clear()
    world.at_rest(within=240)
    assert world.fresh(job).status == JobStatus.CANCELLED
    assert abs(job.current_cost - world.fake.bill()) < PRICE * 90 / 3600


@pytest.mark.scenario(29, "I3")
@pytest.mark.parametrize("fault", ["pretend", "linger"])
def test_a_delete_that_was_acknowledged_is_no_evidence(world: World, fault: str) -> None:
    job, _, pod = world.rented()
    world.fake.fault(fault, times=2) if fault == "pretend" else world.fake.fault(fault, name=pod.name, polls=6)
    request_cancel(job.pk)
    world.until(lambda: world.fake.calls("delete"), within=120)
    assert not pod.over
    assert world.fresh(job).status == JobStatus.CANCELLING
    world.at_rest()
    assert world.fresh(job).status == JobStatus.CANCELLED


@pytest.mark.scenario(30, "I6")
def test_the_cap_a_machine_is_born_with_is_what_its_budget_pays_for(world: World) -> None:
    """With the provider and our server away it ends itself at this cap, so the overshoot is the boot and no more."""
    job, _, pod = world.rented(budget_limit=Decimal("0.05"))
    cap = int(pod.body["env"][ENV_MAX_SECONDS])
    assert Decimal(cap) * PRICE / 3600 <= Decimal("0.05")
    world.fake.fault("down", for_seconds=1800)
    world.live(1740, step=60)
    assert world.fresh(job).status == JobStatus.CANCELLING, "the budget is over, and that is known without the provider"
    assert job.stop_reason == EndReason.BUDGET_EXCEEDED
    world.fake.clear()
    world.at_rest()
    assert world.fresh(job).reason == EndReason.BUDGET_EXCEEDED


@pytest.mark.scenario(31, "I3")
def test_a_machine_that_ended_itself_out_of_contact_is_no_success(world: World) -> None:
    job, attempt, pod = world.rented(max_attempts=1)
    world.travel(25 * 60)
    world.fake.fault("vanish", name=pod.name)
    world.at_rest()
    attempt.refresh_from_db()
    assert world.fresh(job).status == JobStatus.FAILED
    assert attempt.reason in (EndReason.VANISHED, EndReason.HEARTBEAT_LOST)


@pytest.mark.scenario(32, "I3 I4")
@pytest.mark.parametrize("moment", ["before intent", "provisioning", "running"])
def test_a_cancel_at_any_moment_ends_in_one_way(world: World, moment: str) -> None:
    job = world.start()
    if moment != "before intent":
        world.round()
    if moment == "running":
        world.live(20)
        world.program(job).metrics(1)
    request_cancel(job.pk)
    world.at_rest()
    assert (world.fresh(job).status, job.reason) == (JobStatus.CANCELLED, EndReason.CANCELLED_BY_USER)
    assert world.created(job) == (0 if moment == "before intent" else 1)


@pytest.mark.scenario(32, "I4")
@pytest.mark.parametrize("first", ["report", "cancel"])
def test_between_the_last_word_and_a_cancel_the_first_one_counts(world: World, first: str) -> None:
    job, attempt, _ = world.rented()
    program = world.program(job)
    program.n = 1
    if first == "report":
        assert program.finish("failed", "training_error").status_code == 200
        request_cancel(job.pk)
    else:
        request_cancel(job.pk)
        assert program.finish("stopped").status_code == 200
    world.at_rest()
    assert world.fresh(job).status == JobStatus.CANCELLED, "a failure that was cancelled is what its owner said"
    attempt.refresh_from_db()
    assert attempt.outcome == ("failed" if first == "report" else "stopped")


@pytest.mark.scenario(36, "I4 I5")
def test_callbacks_after_the_end_change_nothing_and_tell_the_program_to_stop(world: World) -> None:
    job, attempt, pod = world.rented()
    program = world.program(job)
    world.fake.fault("vanish", name=pod.name)
    world.travel(200)
    world.until(lambda: not Attempt.objects.get(pk=attempt.pk).is_open, within=120)
    world.until(lambda: world.pods(job), within=120)
    world.live(20)
    second = world.program(job)
    before = MetricPoint.objects.filter(job=job).count()
    late = program.send("events", {"events": [{"n": 2, "t": 1, "kind": "metric", "data": {"step": 9, "loss": 1}}]})
    assert late.status_code == 410
    assert late.json()["stop"] is not None
    other, _, _ = world.rented()
    assert second.send("events", {"events": []}, token=world.program(other).token).status_code == 404
    assert second.send("events", {"events": []}, token="stk_j_nonsense").status_code == 401
    assert second.send("bootstrap", {"nonce": "n" * 32}, token=program.first_token).status_code == 410
    assert MetricPoint.objects.filter(job=job).count() == before
    for one in (job, other):
        request_cancel(one.pk)
    world.at_rest()
    assert second.finish("completed").status_code == 410
    assert world.fresh(job).status == JobStatus.CANCELLED


@pytest.mark.scenario(37, "I5")
def test_batches_that_repeat_overlap_and_leave_gaps_are_stored_once(world: World) -> None:
    job, _, _ = world.rented()
    program = world.program(job)
    for _ in range(3):
        assert program.metrics(2, 3, 4, n=2)["acked"] == 4
    assert program.metrics(8, 9, n=8)["acked"] == 4, "a gap is not acknowledged"
    assert program.metrics(4, 5, 6, n=4)["acked"] == 6
    assert program.metrics(6, 7, 8, 9, n=6)["acked"] == 9
    steps = MetricPoint.objects.filter(job=job).order_by("step").values_list("step", flat=True)
    assert list(steps) == list(range(1, 10))
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(43, "I3")
def test_a_person_whose_job_runs_cannot_be_deleted(world: World) -> None:
    job, _, _ = world.rented()
    with pytest.raises(ProtectedError):
        world.owner.delete()
    with pytest.raises(Conflict, match="Cancel it first"):
        delete_job(job.pk)
    request_cancel(job.pk)
    world.at_rest()


@pytest.mark.scenario(27, "I6")
def test_the_ledger_is_the_time_of_the_machines_at_their_price(world: World) -> None:
    jobs = [world.start(max_attempts=2) for _ in range(3)]
    world.live(60)
    world.fake.fault("vanish", name=world.pods(jobs[0])[0].name)
    world.fake.fault("preempt", name=world.pods(jobs[1])[0].name)
    world.live(400)
    for job in jobs:
        request_cancel(job.pk)
    world.at_rest()
    for job in jobs:
        metered = job.cost_records.filter(kind="metered").aggregate(total=Sum("amount"))["total"]
        billed = world.fake.bill(f"stoker-*-{job.pk.hex[:12]}-a*")
        assert world.fresh(job).current_cost == metered
        # A tick for each machine: the end is known at the next look, of a machine that vanished after two of them.
        assert abs(metered - billed) <= PRICE * 75 / 3600 * world.created(job), f"{metered} against {billed}"
        assert job.attempts.exclude(state=AttemptState.GONE).count() == 0
