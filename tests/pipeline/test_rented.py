"""What rented machines add to the life of a job: deadlines of their own, accounts, checkpoints of earlier attempts."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now

from pipeline import accounts, ingest, limits, runs, vault
from pipeline.costs import amount_for
from pipeline.models import Artifact, Attempt, CostRecord, Credential, EventType, Job
from pipeline.models.access import token_hash
from pipeline.providers.base import Account, AuthError, MachineState, NoFunds, Unavailable
from pipeline.providers.local import supervisor
from pipeline.providers.local.run import WORK_DIR
from pipeline.services import observation, submission
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel, request_checkpoint, resume_job
from pipeline.states import EndReason, JobStatus
from tests.factories import make_job, make_running_job, make_user
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import look, shift, submitted
from training.contract import UNTIL_FILE

pytestmark = pytest.mark.django_db


def checkpoint_of(attempt: Attempt, step: int) -> Artifact:
    return Artifact.objects.create(
        job_id=attempt.job_id,
        attempt=attempt,
        kind="checkpoint",
        state="stored",
        stored_at=Now(),
        name=f"checkpoint-{step}.zip",
        step=step,
        size_bytes=10,
        sha256="1" * 64,
        path=f"{attempt.job_id}/a{attempt.n}/{step}",
    )


class TestDeadlines:
    def test_a_machine_that_never_starts_is_stopped_and_replaced(self, world: World) -> None:
        job, attempt = submitted(world)
        world.change(attempt.name, state=MachineState.STARTING)
        shift(attempt, machine_seen_at=timedelta(seconds=ScriptedProvider.provision_seconds + 1))
        look(job)
        assert job.stop_reason == EndReason.START_TIMEOUT
        look(job)
        assert look(job).status == JobStatus.QUEUED, "a fault of the machine, not of the job"
        assert world.alive == []

    def test_the_time_to_the_first_call_counts_from_when_it_runs(self, world: World) -> None:
        job, attempt = submitted(world)
        look(job)
        shift(attempt, machine_seen_at=timedelta(hours=2))
        look(job)
        assert job.stop_reason == "", "it has only just been seen running"
        shift(attempt, running_seen_at=timedelta(seconds=ScriptedProvider.contact_seconds + 1))
        assert look(job).stop_reason == EndReason.START_TIMEOUT

    def test_earlier_attempts_count_against_the_maximum_duration(self, world: World) -> None:
        job, first = submitted(world, max_duration=3600)
        shift(first, first_contact_at=timedelta(minutes=50), last_seen_at=timedelta(0))
        world.end(first.name, exit_code=137)
        look(job)
        submission.submit(job.pk)
        second = job.attempts.get(n=2)
        assert 590 <= limits.seconds_granted(job, second) <= 600

    def test_the_money_left_bounds_the_time_of_the_machine(self, world: World) -> None:
        job, attempt = submitted(world)
        Job.objects.filter(pk=job.pk).update(cost_limit=Decimal(2), current_cost=Decimal(1))
        job.refresh_from_db()
        assert 995 <= limits.seconds_granted(job, attempt) <= 1000, "1 US dollar at 3.60 an hour"


class TestEnds:
    def test_a_machine_taken_away_is_told_from_one_that_vanished(self, world: World) -> None:
        job, attempt = submitted(world)
        world.change(attempt.name, state=MachineState.EXITED)
        look(job)
        assert world.count("force") == 1, "what is left of it is billed"
        world.hidden.add(attempt.name)
        look(job)
        shift(attempt, first_missed_at=timedelta(seconds=31), machine_seen_at=timedelta(minutes=5))
        look(job)
        attempt.refresh_from_db()
        assert (attempt.reason, job.status) == (EndReason.PREEMPTED, JobStatus.QUEUED)

    def test_a_stop_that_does_not_work_is_shown_and_told_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ScriptedProvider, "stop_is_graceful", False)
        job, attempt = submitted(world)
        request_cancel(job.pk)
        world.stop_error = Unavailable("The provider answered 500.")
        shift(attempt, stop_sent_at=timedelta(seconds=61))
        assert look(job).current_stage == "still_billed"
        shift(attempt, stop_sent_at=timedelta(seconds=301))
        look(job)
        look(job)
        assert job.status == JobStatus.CANCELLING
        told = job.events.filter(kind=EventType.WARNING, data__what="still_billed")
        assert told.count() == 1
        assert attempt.external_id in told[0].message

    def test_no_funds_has_a_reason_of_its_own(self, world: World) -> None:
        def broke(request: Any) -> None:
            raise NoFunds("The account has 0.12 USD left; this machine needs at least 3.60. Add funds.")

        world.on_create = broke
        job, _ = submitted(world)
        assert (job.status, job.reason) == (JobStatus.FAILED, EndReason.NO_FUNDS)
        assert "0.12" in job.error_message


class TestCheckpoints:
    def test_a_new_attempt_goes_on_from_the_newest_stored_checkpoint(self, world: World) -> None:
        job, first = submitted(world)
        checkpoint_of(first, 10)
        checkpoint_of(first, 20)
        Artifact.objects.create(
            job=job, attempt=first, kind="checkpoint", name="half", step=30, size_bytes=1, sha256="2" * 64, path="half"
        )
        world.end(first.name, exit_code=137)
        look(job)
        submission.submit(job.pk)
        spec = runs.build_spec(job.attempts.get(n=2))
        assert spec.resume is not None
        assert spec.resume.step == 20, "one that was never verified does not count"
        assert spec.resume.sha256 == "1" * 64

    def test_a_job_can_begin_where_another_one_ended(self, world: World) -> None:
        job, attempt = submitted(world)
        stored = checkpoint_of(attempt, 40)
        with pytest.raises(Conflict, match="not ended"):
            resume_job(job)
        request_cancel(job.pk)
        look(job)
        assert look(job).status == JobStatus.CANCELLED
        again = resume_job(job)
        submission.submit(again.pk)
        spec = runs.build_spec(again.attempts.get())
        assert (again.resume_from_id, spec.resume.step if spec.resume else None) == (stored.pk, 40)

    def test_without_a_checkpoint_there_is_nothing_to_go_on_from(self, world: World) -> None:
        job, _ = submitted(world)
        request_cancel(job.pk)
        look(job)
        look(job)
        with pytest.raises(Conflict, match="no stored checkpoint"):
            resume_job(job)

    def test_a_checkpoint_is_asked_for_until_one_is_made(self) -> None:
        job, attempt, _ = make_running_job(make_user())
        assert ingest.record_events(attempt.pk, []).save is None
        assert request_checkpoint(job.pk) is True
        assert request_checkpoint(job.pk) is False
        asked = ingest.record_events(attempt.pk, []).save
        assert asked is not None
        assert ingest.record_events(attempt.pk, []).save == asked, "the same request, so that it is obeyed once"
        line = {"n": 1, "t": 1.0, "kind": "checkpoint", "data": {"step": 5}}
        assert ingest.record_events(attempt.pk, [line]).save is None
        job.refresh_from_db()
        assert job.save_requested_at is None


class RentedProvider(ScriptedProvider):
    """A provider with accounts. Each sees its own machines; a key may be refused."""

    name = "rented"
    label = "Rented"
    needs_account = True
    environment_is_public = True
    refused: set[str] = set()
    looks: list[str] = []

    def __init__(self, account: Account | None = None) -> None:
        assert account is not None
        self.account = account

    def observe(self, refs: Any) -> Any:
        self.looks.append(self.account.secret)
        if self.account.secret in self.refused:
            raise AuthError("Rented refused the key. Save a new one under Settings.")
        return super().observe(refs)


class TestAccounts:
    @pytest.fixture(autouse=True)
    def rented(self, world: World, settings: Any) -> None:
        settings.STOKER_PROVIDERS = {
            "scripted": "tests.fakes.provider.ScriptedProvider",
            "rented": f"{__name__}.RentedProvider",
        }
        RentedProvider.refused, RentedProvider.looks = set(), []

    def person_with_key(self, key: str) -> Any:
        owner = make_user()
        credential = Credential(owner=owner, provider="rented")
        credential.secret = vault.seal(key, accounts.bound_to(credential))
        credential.save()
        return owner

    def running(self, owner: Any) -> Job:
        job = make_job(owner, provider="rented", start=True)
        submission.submit(job.pk)
        job.refresh_from_db()
        return job

    def test_one_look_serves_all_jobs_of_an_account(self) -> None:
        ada, bob = self.person_with_key("key of ada"), self.person_with_key("key of bob")
        jobs = [self.running(owner) for owner in (ada, ada, ada, bob, bob)]
        RentedProvider.looks.clear()
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(next_check_at=Now())
        assert observation.poll_due() == 5
        assert sorted(RentedProvider.looks) == ["key of ada", "key of bob"]

    def test_a_refused_key_concludes_nothing_and_is_told_once(self) -> None:
        job = self.running(self.person_with_key("rnt_4f1c"))
        RentedProvider.refused.add("rnt_4f1c")
        for _ in range(3):
            look(job)
        assert job.status == JobStatus.INITIALIZING
        credential = Credential.objects.get()
        assert credential.problem == "Rented refused the key. Save a new one under Settings."
        assert job.events.filter(data__what="credential", level="error").count() == 1
        RentedProvider.refused.clear()
        look(job)
        credential.refresh_from_db()
        assert credential.problem == ""
        assert job.events.filter(data__what="credential", level="info").count() == 1

    def test_a_key_that_cannot_be_read_concludes_nothing(self, settings: Any) -> None:
        job = self.running(self.person_with_key("rnt_4f1c"))
        kept = settings.STOKER_ENCRYPTION_KEYS
        settings.STOKER_ENCRYPTION_KEYS = [b"x" * 32]
        request_cancel(job.pk)
        look(job)
        assert job.status == JobStatus.CANCELLING
        settings.STOKER_ENCRYPTION_KEYS = kept
        look(job)
        assert look(job).status == JobStatus.CANCELLED

    def test_without_an_account_a_job_is_refused_with_where_to_add_one(self) -> None:
        with pytest.raises(Exception, match="Add one under Settings"):
            make_job(make_user(), provider="rented", start=True)

    def test_a_machine_others_can_look_into_gets_a_token_for_one_exchange(self, world: World) -> None:
        job = self.running(self.person_with_key("rnt_4f1c"))
        attempt = job.attempts.get()
        token = world.requests[attempt.name].environment["JOB_TOKEN"]
        assert token.startswith("stk_b_")
        assert attempt.token_hash is None
        assert attempt.bootstrap_hash == token_hash(token)
        assert "rnt_4f1c" not in str(world.requests[attempt.name])


def test_a_machine_of_an_unknown_kind_is_left_alone(world: World) -> None:
    job, attempt = submitted(world)
    world.change(attempt.name, state=MachineState.UNKNOWN)
    look(job)
    assert (job.status, world.count("stop")) == (JobStatus.INITIALIZING, 0)


def test_many_meters_are_read_as_one_is(world: World) -> None:
    owner = make_user()
    jobs = [make_job(owner, start=True) for _ in range(3)]
    for job in jobs:
        submission.submit(job.pk)
        look(job)
    for job in jobs[:2]:
        shift(job.attempts.get(), metered_until=timedelta(seconds=100))
    Job.objects.filter(pk__in=[job.pk for job in jobs]).update(next_check_at=Now())
    observation.poll_due()
    for job in jobs:
        job.refresh_from_db()
    records = CostRecord.objects.all()
    assert records.count() == 2, "the third was read a moment ago"
    for record in records:
        assert record.amount == amount_for(record.period_end - record.period_start, record.price_per_hour)
        assert record.job.current_cost == record.amount
        assert record.attempt.metered_until == record.period_end
        assert 100 <= record.seconds < 110
    assert observation.poll_due() == 0, "all were given back"


def test_a_limit_that_is_raised_reaches_the_program_that_runs() -> None:
    job, attempt, _ = make_running_job(make_user(), max_duration=3600, cost_limit=Decimal(1))
    Attempt.objects.filter(pk=attempt.pk).update(
        price_per_hour=Decimal("3.6"), first_contact_at=Now() - timedelta(minutes=10)
    )
    left = ingest.record_events(attempt.pk, []).seconds_left
    assert left is not None
    assert 990 <= left <= 1000, "1 US dollar at 3.60 an hour"
    Job.objects.filter(pk=job.pk).update(cost_limit=Decimal(100))
    left = ingest.record_events(attempt.pk, []).seconds_left
    assert left is not None
    assert 2990 <= left <= 3000, "fifty minutes of the hour"


def test_the_local_supervisor_reads_the_note_the_program_writes() -> None:
    assert f"{WORK_DIR}/{UNTIL_FILE}" == supervisor.UNTIL_FILE
