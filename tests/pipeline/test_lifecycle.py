"""From saved to ended, against a scripted outside world: the tasks' services are called as the tasks call them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from pipeline.models import Artifact, CallOutcome, Job, JobEvent, ProviderCall
from pipeline.providers.base import AuthError, CreateRequest, NoCapacity, Refused, Unavailable
from pipeline.services import observation, submission
from pipeline.services.errors import Conflict
from pipeline.services.jobs import delete_job, retry_job, start_job
from pipeline.states import AttemptState, EndReason, JobStatus
from tests.factories import make_job, make_running_job, make_user
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import look, program_says, shift, submitted
from training.contract import ENV_JOB_TOKEN, ExitCode, Outcome

pytestmark = pytest.mark.django_db


def test_submission_makes_one_machine_and_gives_it_a_token_nobody_stores(world: World) -> None:
    job, attempt = submitted(world)
    assert job.status == JobStatus.INITIALIZING
    assert job.current_stage == "provisioning"
    assert attempt.state == AttemptState.LIVE
    assert attempt.external_id == world.machines[attempt.name].external_id
    token = world.requests[attempt.name].environment[ENV_JOB_TOKEN]
    assert attempt.token_hash not in ("", token)
    assert not JobEvent.objects.filter(data__icontains=token).exists()
    assert ProviderCall.objects.get(attempt=attempt).outcome == CallOutcome.OK


def test_submitting_again_changes_nothing(world: World) -> None:
    job, _ = submitted(world)
    submission.submit(job.pk)
    submission.submit_due()
    assert world.count("create") == 1


def test_starting_twice_is_refused_with_a_sentence(world: World) -> None:
    job, _ = submitted(world)
    with pytest.raises(Conflict, match="already started"):
        start_job(job.pk)


def test_a_completed_job_needs_the_last_word_and_the_evidence(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "completed")
    assert look(job).status == JobStatus.INITIALIZING, "the machine still runs"
    world.end(attempt.name, exit_code=0)
    assert look(job).status == JobStatus.COMPLETED
    attempt.refresh_from_db()
    assert (attempt.state, attempt.reason) == (AttemptState.GONE, EndReason.COMPLETED)
    assert attempt.gone_evidence
    assert job.final_cost is not None
    assert job.next_check_at is None


def test_a_machine_that_lingers_after_the_last_word_is_stopped(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "completed")
    shift(attempt, outcome_at=timedelta(seconds=15))
    look(job)
    assert world.count("stop") == 1
    assert look(job).status == JobStatus.COMPLETED


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        (ExitCode.OUT_OF_MEMORY, EndReason.OUT_OF_MEMORY),
        (ExitCode.INVALID_DATA, EndReason.INVALID_DATA),
        (ExitCode.TRAINING_ERROR, EndReason.TRAINING_ERROR),
    ],
)
def test_an_exit_code_explains_an_end_without_report(exit_code: int, reason: EndReason, world: World) -> None:
    job, attempt = submitted(world)
    world.end(attempt.name, exit_code=exit_code, output_tail="Traceback: boom")
    assert look(job).status == JobStatus.FAILED
    assert job.reason == reason
    assert str(int(exit_code)) in job.error_message
    assert "boom" in job.error_stack


def test_a_provider_that_saw_the_failure_is_quoted(world: World) -> None:
    job, attempt = submitted(world)
    detail = "The system killed the program at 12:00."
    world.end(attempt.name, detail=detail, outcome=Outcome.FAILED, reason="out_of_memory")
    assert look(job).reason == EndReason.OUT_OF_MEMORY
    assert job.error_message == detail


def test_what_the_program_said_outranks_the_exit_code(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "failed", "out_of_memory", "CUDA out of memory at step 3.")
    world.end(attempt.name, exit_code=1)
    assert look(job).reason == EndReason.OUT_OF_MEMORY
    assert job.error_message == "CUDA out of memory at step 3."


def test_a_vanished_machine_is_replaced_by_a_new_attempt(world: World) -> None:
    job, first = submitted(world)
    world.hidden.add(first.name)
    assert look(job).status == JobStatus.INITIALIZING, "one look that misses it proves nothing"
    shift(first, first_missed_at=timedelta(seconds=31))
    assert look(job).status == JobStatus.INITIALIZING, "a list may not show a new machine yet"
    shift(first, machine_seen_at=timedelta(seconds=121))
    assert look(job).status == JobStatus.QUEUED
    first.refresh_from_db()
    assert (first.state, first.reason) == (AttemptState.GONE, EndReason.VANISHED)
    Job.objects.filter(pk=job.pk).update(next_check_at=Now())
    assert submission.submit_due() == 1
    assert job.attempts.count() == 2


def test_retries_end_with_the_policy(world: World) -> None:
    job, attempt = submitted(world, max_attempts=2)
    for _ in range(2):
        attempt = job.attempts.order_by("-n")[0]
        world.end(attempt.name, exit_code=137)
        look(job)
        submission.submit(job.pk)
        job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert job.attempts.count() == 2


def test_a_failed_look_ends_nothing(world: World) -> None:
    job, attempt = submitted(world)
    world.look_error = Unavailable("The provider answered 502.")
    for _ in range(5):
        look(job)
    attempt.refresh_from_db()
    assert job.status == JobStatus.INITIALIZING
    assert attempt.state == AttemptState.LIVE
    assert world.count("stop") == 0


def test_a_lost_answer_is_followed_by_looking_never_by_creating(world: World) -> None:
    def lose(request: CreateRequest) -> None:
        raise Unavailable("The connection was cut.")

    world.after_create = lose
    job, attempt = submitted(world)
    assert attempt.state == AttemptState.INTENT
    assert ProviderCall.objects.get(attempt=attempt).outcome == CallOutcome.UNKNOWN
    look(job)
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.LIVE
    assert world.count("create") == 1


def test_a_create_that_made_nothing_is_given_up_after_the_quarantine(world: World) -> None:
    def fail(request: CreateRequest) -> None:
        raise Unavailable("Timed out.")

    world.on_create = fail
    job, attempt = submitted(world)
    look(job)
    assert job.status == JobStatus.INITIALIZING
    shift(attempt, create_unknown_since=timedelta(seconds=121), first_missed_at=timedelta(seconds=60))
    look(job)
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.NEVER_CREATED
    assert job.status == JobStatus.QUEUED


def test_a_worker_that_died_before_the_call_is_healed_with_the_same_attempt(world: World) -> None:
    job = make_job(make_user(), start=True)
    lease = submission.claim(job.pk, JobStatus.QUEUED)
    assert lease is not None
    attempt = submission._write_intent(job.pk, lease, None)
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - timedelta(seconds=1))
    look(job)
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.LIVE
    assert list(world.machines) == [attempt.name]


def test_a_worker_that_died_after_the_call_is_healed_by_adoption(world: World) -> None:
    job = make_job(make_user(), start=True)
    lease = submission.claim(job.pk, JobStatus.QUEUED)
    assert lease is not None
    attempt = submission._write_intent(job.pk, lease, None)
    ProviderCall.objects.create(attempt=attempt, op="create")
    ScriptedProvider().create(CreateRequest(attempt.name, "box", 1, "", {}, 60))
    Job.objects.filter(pk=job.pk).update(lease_until=Now() - timedelta(seconds=1))
    look(job)
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.LIVE
    assert world.count("create") == 1


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (Refused("No such image."), EndReason.PROVIDER_ERROR, JobStatus.FAILED),
        (AuthError("Key refused."), EndReason.PROVIDER_AUTH, JobStatus.FAILED),
        (NoCapacity("None left."), "", JobStatus.QUEUED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_refusal_has_its_own_end(error: Exception, reason: str, status: JobStatus, world: World) -> None:
    def refuse(request: CreateRequest) -> None:
        raise error

    world.on_create = refuse
    job, attempt = submitted(world)
    assert (job.status, job.reason) == (status, reason)
    assert attempt.state == AttemptState.NEVER_CREATED
    if status == JobStatus.FAILED:
        assert str(error) in job.error_message


def test_a_job_waits_for_a_slot_without_spending_attempts(world: World) -> None:
    world.slots = 0
    job = make_job(make_user(), start=True)
    submission.submit(job.pk)
    job.refresh_from_db()
    assert (job.status, job.current_stage) == (JobStatus.QUEUED, "waiting_for_slot")
    assert not job.attempts.exists()


def test_machine_time_is_metered_to_the_end(world: World) -> None:
    job, attempt = submitted(world)
    shift(attempt, metered_until=timedelta(seconds=1000))
    look(job)
    assert job.cost_records.count() == 1
    program_says(attempt, "completed")
    world.end(attempt.name, exit_code=0)
    look(job)
    total = sum(record.amount for record in job.cost_records.all())
    assert job.final_cost == total
    assert Decimal("0.99") < total < Decimal("1.01"), "1,000 s at 3.60 an hour"


def test_one_look_serves_all_jobs_of_a_provider(world: World) -> None:
    owner = make_user()
    for _ in range(7):
        _, attempt, _ = make_running_job(owner)
        world.machines[attempt.name] = ScriptedProvider().create(CreateRequest(attempt.name, "box", 1, "", {}, 60))
    world.calls.clear()
    assert observation.poll_due() == 7
    assert world.count("observe") == 1


def test_one_job_that_cannot_be_looked_after_does_not_hold_up_the_others(world: World) -> None:
    owner = make_user()
    lost, healthy = make_job(owner, start=True), make_job(owner, start=True)
    Job.objects.filter(pk=lost.pk).update(provider="uninstalled", priority=100)
    submission.submit_due()
    assert world.count("create") == 1
    orphan, _, _ = make_running_job(owner)
    orphan.attempts.update(provider="uninstalled")
    Job.objects.filter(pk=orphan.pk).update(provider="uninstalled", priority=100)
    attempt = healthy.attempts.get()
    program_says(attempt, "completed")
    world.end(attempt.name, exit_code=0)
    Job.objects.active().update(next_check_at=Now())
    observation.poll_due()
    healthy.refresh_from_db()
    orphan.refresh_from_db()
    assert healthy.status == JobStatus.COMPLETED
    assert (orphan.status, orphan.lease_token) == (JobStatus.RUNNING, None), "unknown is not dead"
    assert orphan.next_check_at > timezone.now()


def test_a_cycle_submits_a_bounded_number(world: World, settings: object) -> None:
    owner = make_user()
    for _ in range(7):
        make_job(owner, start=True)
    assert submission.submit_due() == 5
    assert world.count("create") == 5


def test_the_adapter_becomes_the_jobs_artifact(world: World) -> None:
    job, attempt = submitted(world)
    adapter = Artifact.objects.create(
        job=job, attempt=attempt, kind="adapter", name="adapter.zip", size_bytes=1, sha256="0" * 64, path="x",
        state="stored", stored_at=Now(),
    )  # fmt: skip
    program_says(attempt, "completed")
    world.end(attempt.name, exit_code=0)
    assert look(job).artifact_id == adapter.pk


def test_trying_again_makes_a_new_job_of_the_same_kind(world: World) -> None:
    job, attempt = submitted(world, hyperparameters={"r": 4}, max_duration=600)
    with pytest.raises(Conflict, match="not ended"):
        retry_job(job)
    world.end(attempt.name, exit_code=1)
    again = retry_job(look(job))
    assert again.pk != job.pk
    assert again.status == JobStatus.QUEUED
    same = (
        "name",
        "dataset_id",
        "base_model",
        "hyperparameters",
        "provider",
        "gpu_type",
        "max_duration",
        "max_attempts",
    )
    assert [getattr(again, name) for name in same] == [getattr(job, name) for name in same]
    job.refresh_from_db()
    assert job.status == JobStatus.FAILED


def test_an_active_job_cannot_be_deleted(world: World) -> None:
    job, _ = submitted(world)
    with pytest.raises(Conflict, match="Cancel it first"):
        delete_job(job.pk)
