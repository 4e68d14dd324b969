"""The sweep: what belongs to nobody is found, ended and told of; a doubtful look ends nothing."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from pipeline.models import AccountLook, Attempt, JobEvent, MachineSighting, ProviderCall
from pipeline.ownership import machine_name
from pipeline.providers.base import CreateRequest, Unavailable
from pipeline.services import orders, sweeping
from pipeline.services.jobs import delete_job, request_cancel
from pipeline.states import AttemptState, JobStatus
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import look, program_says, shift, submitted

pytestmark = pytest.mark.django_db


def account() -> AccountLook:
    (one,) = sweeping.known_looks()
    return one


def sweep() -> sweeping.Outcome:
    outcome = sweeping.sweep(account())
    assert outcome is not None
    return outcome


def stops(world: World) -> list[str]:
    return [name for operation, name in world.calls if operation in ("stop", "force")]


def later(**ago: timedelta) -> None:
    """Move what the sweep wrote into the past."""
    MachineSighting.objects.update(**{name: Now() - delta for name, delta in ago.items()})


def ended_job(world: World) -> tuple[Any, Attempt]:
    """A job that ended for good a minute ago; its machine went with it."""
    job, attempt = submitted(world, max_attempts=1)
    program_says(attempt, "failed", "training_error")
    world.end(attempt.name, exit_code=1)
    assert look(job).status == JobStatus.FAILED
    shift(attempt, gone_at=timedelta(minutes=1))
    attempt.refresh_from_db()
    return job, attempt


def test_a_machine_of_an_attempt_is_seen_and_left_alone(world: World) -> None:
    _job, attempt = submitted(world)
    sweep()
    seen = MachineSighting.objects.get()
    assert (seen.verdict, seen.attempt, seen.external_id) == ("owned", attempt, attempt.external_id)
    assert seen.price_per_hour == attempt.price_per_hour
    assert stops(world) == []
    assert AccountLook.objects.get().worked_at is not None


def test_a_machine_left_over_after_its_attempt_is_ended_and_its_job_told(world: World) -> None:
    job, attempt = ended_job(world)
    world.stray(attempt.name, "zombie", created_at=timezone.now() - timedelta(hours=2))
    sweep()
    assert stops(world) == [attempt.name]
    assert world.strays == []
    order = ProviderCall.objects.get(sighting__external_id="zombie")
    assert (order.op, order.outcome) == ("stop", "ok")
    told = JobEvent.objects.get(job=job, data__what="forgotten_machine")
    # Until its end the attempt itself was billed; a minute at $3.60 an hour came after that.
    assert told.message == (
        "A machine of attempt 1 was still there after its end; it is being ended. Cost so far: about $0.06. "
        "Machine: zombie."
    )
    assert (told.kind, told.level, told.attempt) == ("warning", "warning", 1)


def test_its_job_learns_when_it_is_gone_and_nothing_is_told_twice(world: World) -> None:
    job, attempt = ended_job(world)
    world.stray(attempt.name, "zombie", created_at=timezone.now() - timedelta(hours=2))
    world.stop_error = Unavailable("The provider does not answer.")
    for _ in range(3):
        sweep()
    assert len(stops(world)) == 3, "ordered again until it is gone"
    assert MachineSighting.objects.get(external_id="zombie").stop_problem == "The provider does not answer."
    world.strays.clear()
    sweep()
    assert MachineSighting.objects.get(external_id="zombie").gone_at is None, "one look may be wrong"
    later(missing_since=timedelta(seconds=31))
    sweep()
    sweep()
    assert MachineSighting.objects.get(external_id="zombie").gone_at is not None
    told = JobEvent.objects.filter(job=job, data__what="forgotten_machine").order_by("seq")
    assert [one.level for one in told] == ["warning", "info"]
    assert told[1].message == "The machine zombie that was left over is gone. Cost: about $0.03."


def test_a_list_may_be_older_than_the_end_of_an_attempt(world: World) -> None:
    _job, attempt = ended_job(world)
    Attempt.objects.filter(pk=attempt.pk).update(gone_at=Now())
    world.stray(attempt.name, "perhaps")
    sweep()
    assert stops(world) == []
    assert not JobEvent.objects.filter(data__what="forgotten_machine").exists()


def test_a_lost_create_is_left_to_adoption(world: World) -> None:
    def lose(request: CreateRequest) -> None:
        raise Unavailable("cut")

    world.after_create = lose
    job, attempt = submitted(world)
    assert attempt.state == AttemptState.INTENT
    sweep()
    assert stops(world) == []
    assert MachineSighting.objects.get().verdict == "owned"
    look(job)
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.LIVE


def test_a_lost_create_that_shows_up_after_all_is_ended(world: World) -> None:
    def lose(request: CreateRequest) -> None:
        raise Unavailable("cut")

    world.after_create = lose
    job, attempt = submitted(world, max_attempts=1)
    world.hidden.add(attempt.name)
    shift(attempt, create_unknown_since=timedelta(minutes=10), first_missed_at=timedelta(minutes=5))
    assert look(job).status == JobStatus.FAILED
    sweep()
    shift(attempt, gone_at=timedelta(minutes=1))
    world.hidden.clear()
    sweep()
    assert stops(world) == [attempt.name]
    assert world.alive == []


def test_of_two_machines_of_one_name_the_attempts_own_stays(world: World) -> None:
    job, attempt = submitted(world)
    world.stray(attempt.name, "second")
    sweep()
    assert [machine.external_id for machine in world.alive] == [attempt.external_id]
    told = JobEvent.objects.get(job=job, data__what="forgotten_machine")
    assert told.message.startswith("A second machine bore the name of attempt 1; it is being ended.")


def test_an_order_that_comes_too_late_does_not_hit_the_attempts_own_machine(world: World) -> None:
    _, attempt = submitted(world)
    world.stray(attempt.name, "second")
    world.stop_error = Unavailable("The provider answered with 500.")
    sweep()
    world.strays.clear()
    world.stop_error = None
    orders.order_end(ScriptedProvider(), MachineSighting.objects.get(external_id="second"))
    assert [machine.external_id for machine in world.alive] == [attempt.external_id]


@pytest.mark.parametrize(
    "name",
    ["{prefix}mine", "{prefix}0123456789ab-a0", "{prefix}0123456789ab-a1-copy", "{prefix}0123456789AB-a1", "{prefix}"],
)
def test_a_name_we_do_not_give_is_shown_and_never_ended(world: World, name: str) -> None:
    world.stray(name.format(prefix=f"stoker-{settings.STOKER_INSTALLATION}-"), "odd")
    sweep()
    sweep()
    seen = MachineSighting.objects.get()
    assert seen.verdict == "strange"
    assert stops(world) == []
    orders.end_machine(seen, actor="ada")
    assert world.strays == [], "a person may end it"
    assert ProviderCall.objects.get().actor == "ada"


def test_many_forgotten_at_once_are_held_back_until_a_person_confirms(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        _, attempt = ended_job(world)
        world.stray(attempt.name, f"zombie{number}")
    with caplog.at_level(logging.ERROR):
        outcome = sweep()
    assert outcome.held_back == "4 of 4 machines look forgotten at once, which is more likely a mistake of ours."
    assert outcome.held_back in caplog.text
    assert AccountLook.objects.get().held_back == outcome.held_back
    world.strays.pop()
    sweep()
    assert stops(world) == [], "held back stays held back, though fewer are left"
    assert AccountLook.objects.get().held_back == outcome.held_back
    said = orders.confirm(account(), actor="ada")
    assert len(said) == 4, "what the last list did not show may still be there"
    assert world.strays == []
    assert AccountLook.objects.get().held_back == ""
    assert set(ProviderCall.objects.filter(op="stop").values_list("actor", flat=True)) == {"ada"}


def test_three_forgotten_ones_are_ended_at_once(world: World) -> None:
    for number in range(3):
        _, attempt = ended_job(world)
        world.stray(attempt.name, f"zombie{number}")
    assert sweep().held_back == ""
    assert world.strays == []


def test_four_of_many_are_ended_at_once(world: World) -> None:
    attempts = [ended_job(world)[1] for _ in range(4)]
    for _ in range(10):
        submitted(world)
    for attempt in attempts:
        world.stray(attempt.name, f"left of {attempt.pk}")
    assert sweep().held_back == ""
    assert len(world.alive) == 10


def test_a_restored_backup_ends_nothing(world: World) -> None:
    """The database is older than its machines: it has never heard of them."""
    job, _attempt = submitted(world)
    newer = machine_name(settings.STOKER_INSTALLATION, uuid4().hex, 1)
    next_attempt = machine_name(settings.STOKER_INSTALLATION, job.pk.hex, 2)
    _, closed = ended_job(world)
    for name in (newer, next_attempt, closed.name):
        world.stray(name, f"id of {name}")
    outcome = sweep()
    assert outcome.held_back.startswith("2 machines of ours belong to attempts that this database does not know.")
    assert stops(world) == [], "not even what looks left over: the rest of the rows may be as old"
    assert set(MachineSighting.objects.filter(held_back=True).values_list("name", flat=True)) == {
        newer, next_attempt, closed.name,
    }  # fmt: skip


def test_the_machine_of_a_deleted_job_was_known_once(world: World) -> None:
    job, attempt = submitted(world, max_attempts=1)
    sweep()
    world.hidden.add(attempt.name)
    shift(attempt, first_missed_at=timedelta(minutes=5), machine_seen_at=timedelta(minutes=10))
    assert look(job).status == JobStatus.FAILED
    delete_job(job.pk)
    world.hidden.clear()
    assert sweep().held_back == ""
    assert world.alive == []


def test_a_failed_list_concludes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    _, attempt = ended_job(world)
    submitted(world)
    world.stray(attempt.name, "zombie")
    world.stop_error = Unavailable("no")
    sweep()
    before = list(MachineSighting.objects.order_by("pk").values())
    for error in (Unavailable("The provider answered with 500."), ValueError("<html>")):
        world.list_error = error
        outcome = sweep()
        assert outcome.problem
        assert outcome.problem in caplog.text
        assert AccountLook.objects.get().problem == outcome.problem
    assert list(MachineSighting.objects.order_by("pk").values()) == before
    assert len(stops(world)) == 1
    world.list_error = None
    sweep()
    assert AccountLook.objects.get().problem == ""


def test_an_empty_list_ends_no_attempt(world: World) -> None:
    _job, attempt = submitted(world)
    sweep()
    world.hidden.add(attempt.name)
    sweep()
    attempt.refresh_from_db()
    assert attempt.state == AttemptState.LIVE
    assert MachineSighting.objects.get().missing_since is not None


def test_a_list_that_came_back_after_another_look_is_dropped(world: World) -> None:
    """The slow one's list is old: what was made since is not in it, and must not count as missing."""
    _, _attempt = submitted(world)
    one = account()
    slow = sweeping._claim(one, timedelta(0))
    assert slow is not None
    AccountLook.objects.update(claimed_until=Now() - timedelta(seconds=1))
    sweep()
    outcome = sweeping.Outcome(one)
    assert sweeping._take_in(one, slow, [], timezone.now(), outcome) is False
    assert MachineSighting.objects.get().missing_since is None


def test_an_account_is_not_looked_at_again_at_once(world: World) -> None:
    assert sweeping.sweep_due() == 1
    assert sweeping.sweep_due() == 0
    AccountLook.objects.update(tried_at=Now() - timedelta(minutes=2))
    assert sweeping.sweep_due() == 1
    assert world.count("list") == 2


def test_a_provider_that_cannot_list_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScriptedProvider, "finds_by_name", False)
    assert sweeping.sweep_due() == 0
    assert world.count("list") == 0


def test_a_dry_run_writes_and_ends_nothing(world: World) -> None:
    _, attempt = ended_job(world)
    world.stray(attempt.name, "zombie")
    outcome = sweeping.sweep(account(), dry_run=True)
    assert outcome is not None
    assert [one.whose.name for one in outcome.findings] == ["LEFT_OVER"]
    assert not MachineSighting.objects.exists()
    assert stops(world) == []


def test_an_operator_ends_an_owned_machine_through_its_job(world: World) -> None:
    job, _attempt = submitted(world)
    sweep()
    said = orders.end_machine(MachineSighting.objects.select_related("attempt__job").get(), actor="ada")
    assert said == f"“{job.name}” is being cancelled."
    job.refresh_from_db()
    assert job.status == JobStatus.CANCELLING
    assert stops(world) == [], "the job's own way, which saves a checkpoint"


def test_the_end_of_an_owned_machine_leaves_no_trace_of_a_leak(world: World) -> None:
    job, _attempt = submitted(world)
    sweep()
    request_cancel(job.pk)
    look(job)
    assert look(job).status == JobStatus.CANCELLED
    sweep()
    seen = MachineSighting.objects.get()
    assert (seen.verdict, seen.gone_at is not None) == ("owned", True)
    assert not JobEvent.objects.filter(data__what="forgotten_machine").exists()


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once_order_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _job, attempt = ended_job(world)
    world.stray(attempt.name, "zombie")
    one, both_listed = account(), threading.Barrier(2)
    results: list[Any] = []

    def work() -> None:
        both_listed.wait(5)
        try:
            results.append(sweeping.sweep(one))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(results) == 2
    assert JobEvent.objects.filter(data__what="forgotten_machine").count() == 1
    assert MachineSighting.objects.count() == 1
    assert world.strays == []
