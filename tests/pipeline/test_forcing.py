"""An operator's last resorts: an end without grace, and an attempt closed on a person's word."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from pipeline.models import Attempt, Job, ProviderCall
from pipeline.providers.base import MachineState, Unavailable
from pipeline.services import stopping
from pipeline.services.errors import Conflict
from pipeline.services.forcing import close_on_word, end_at_once
from pipeline.services.jobs import request_cancel
from tests.factories import make_job, make_user
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import look, program_says, shift, submitted

pytestmark = pytest.mark.django_db

WORD = "The data centre was switched off on 3 March; their console shows no machines."


@pytest.fixture
def brutal(monkeypatch: Any) -> None:
    """Where `stop` kills at once, a program that talks is given a grace, unless an operator says otherwise."""
    monkeypatch.setattr(ScriptedProvider, "stop_is_graceful", False)


def test_an_end_without_grace_goes_out_at_once_under_the_name_of_who_ordered_it(world: World, brutal: None) -> None:
    job, attempt = submitted(world)
    shift(attempt, first_contact_at=timedelta(minutes=1), last_seen_at=timedelta(0))
    request_cancel(job.pk, actor="ada")
    stopping.stop(job.pk)
    assert world.count("stop") == world.count("force") == 0, "the program has its grace"
    assert end_at_once(job.pk, actor="olga") is True
    look(job)
    assert world.count("force") == 1
    assert ProviderCall.objects.get(op="stop").actor == "olga"
    assert job.events.get(data__what="forced").actor == "olga"
    assert look(job).status == "cancelled"
    assert world.alive == []


def test_it_cancels_a_job_that_nobody_cancelled(world: World, brutal: None) -> None:
    job, attempt = submitted(world)
    shift(attempt, first_contact_at=timedelta(minutes=1), last_seen_at=timedelta(0))
    end_at_once(job.pk, actor="olga")
    stopping.stop(job.pk)
    assert world.count("force") == 1
    assert look(job).reason == "cancelled_by_user"


def test_it_is_repeated_without_grace_until_the_machine_is_gone(world: World) -> None:
    job, _ = submitted(world)
    world.stop_error = Unavailable("500")
    end_at_once(job.pk, actor="olga")
    for _ in range(3):
        look(job)
    assert world.count("stop") == 0
    assert world.count("force") == 3
    assert end_at_once(job.pk, actor="otto") is False
    assert Attempt.objects.get().forced_by == "olga"


@pytest.mark.parametrize("look_fails", [True, False])
def test_a_look_that_fails_or_says_nothing_useful_does_not_hold_it_up(world: World, look_fails: bool) -> None:
    job, attempt = submitted(world)
    if look_fails:
        world.look_error = Unavailable("500")
    else:
        world.change(attempt.name, state=MachineState.UNKNOWN)
    end_at_once(job.pk, actor="olga")
    look(job)
    assert world.count("force") == 1


def test_a_finished_program_is_completed_all_the_same(world: World) -> None:
    job, attempt = submitted(world)
    program_says(attempt, "completed")
    end_at_once(job.pk, actor="olga")
    look(job)
    assert world.count("force") == 1
    assert look(job).status == "completed"


def test_a_job_without_a_machine_is_cancelled(world: World) -> None:
    job = make_job(make_user(), start=True)
    assert end_at_once(job.pk, actor="olga") is True
    stopping.stop(job.pk)
    job.refresh_from_db()
    assert job.status == "cancelled"
    with pytest.raises(Conflict, match="already ended"):
        end_at_once(job.pk, actor="olga")


def test_a_word_closes_an_attempt_whose_provider_is_gone(world: World) -> None:
    job, attempt = submitted(world)
    end_at_once(job.pk, actor="olga")
    attempt.refresh_from_db()
    world.look_error = Unavailable("No route to host")
    close_on_word(attempt, WORD, actor="olga")
    assert attempt.state == "gone"
    assert attempt.gone_evidence == f"olga states that the machine is gone: {WORD}"
    assert job.events.get(data__what="closed_on_word").actor == "olga"
    job.refresh_from_db()
    assert (job.status, job.reason) == ("cancelled", "cancelled_by_user")
    assert job.final_cost == job.current_cost


def test_a_word_closes_an_attempt_whose_provider_was_uninstalled(world: World) -> None:
    job, attempt = submitted(world)
    end_at_once(job.pk, actor="olga")
    Attempt.objects.update(provider="uninstalled")
    attempt.refresh_from_db()
    close_on_word(attempt, WORD, actor="olga")
    assert Job.objects.get(pk=job.pk).status == "cancelled"


def test_nobodys_word_counts_while_something_can_still_be_found_out(world: World) -> None:
    job, attempt = submitted(world)
    with pytest.raises(Conflict, match="without grace first"):
        close_on_word(attempt, WORD, actor="olga")
    world.stop_error = Unavailable("500")
    end_at_once(job.pk, actor="olga")
    attempt.refresh_from_db()
    with pytest.raises(Conflict, match="answers and shows the machine"):
        close_on_word(attempt, WORD, actor="olga")
    world.hidden.add(attempt.name)
    with pytest.raises(Conflict, match="does not show the machine"):
        close_on_word(attempt, WORD, actor="olga")
    world.look_error = Unavailable("500")
    with pytest.raises(Conflict, match="in 20 to 250 characters"):
        close_on_word(attempt, "  it is   gone ", actor="olga")
    shift(attempt, last_seen_at=timedelta(seconds=5))
    with pytest.raises(Conflict, match="it does run"):
        close_on_word(attempt, WORD, actor="olga")
    assert Attempt.objects.get().is_open
    assert not job.events.filter(data__what="closed_on_word").exists()
    Job.objects.filter(pk=job.pk).update(lease_token=uuid4(), lease_until="2099-01-01T00:00Z")
    with pytest.raises(Conflict, match="being looked after"):
        close_on_word(attempt, WORD, actor="olga")
