"""What operators type: `sweep` and `resync`."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from pipeline.models import Job, MachineSighting, ProviderCall
from pipeline.ownership import machine_name
from pipeline.providers.base import Unavailable
from pipeline.services import submission
from tests.factories import make_job
from tests.fakes.provider import World
from tests.pipeline.conftest import world

__all__ = ["world"]
pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=out)
    return out.getvalue()


def stray(world: World) -> str:
    name = machine_name(settings.STOKER_INSTALLATION, uuid4().hex, 1)
    world.stray(name, "unheard-of")
    return name


def test_sweep_lists_without_ending_and_ends_what_was_held_back_on_demand(world: World) -> None:
    name = stray(world)
    said = run("sweep", "--dry-run")
    assert f"unheard-of  {name}  running  It bears a name we give, but this database has no such attempt. HELD" in said
    assert not MachineSighting.objects.exists()
    said = run("sweep")
    assert "1 machine of ours belongs to attempts that this database does not know." in said
    (hint,) = [line for line in said.splitlines() if "--confirm" in line]
    assert len(world.strays) == 1
    said = run("sweep", "--confirm", "--account", hint.split()[-1])
    assert "unheard-of was told to end." in said
    assert world.strays == []
    assert ProviderCall.objects.get().actor == "manage.py sweep"


def test_sweep_fails_with_a_sentence_when_a_list_does(world: World, capsys: Any) -> None:
    world.list_error = Unavailable("The provider answered with 500.")
    with pytest.raises(SystemExit):
        run("sweep")
    with pytest.raises(CommandError, match="no account 99"):
        run("sweep", "--account", "99")
    with pytest.raises(CommandError, match="Either"):
        run("sweep", "--dry-run", "--confirm")


@pytest.fixture
def job(owner: Any, world: World) -> Job:
    job = make_job(owner.user, start=True, max_attempts=1)
    submission.submit(job.pk)
    world.end(job.attempts.get().name, exit_code=1)
    Job.objects.filter(pk=job.pk).update(next_check_at="2099-01-01T00:00Z")
    return job


def test_resync_looks_whatever_the_clock_says(job: Job) -> None:
    assert "1 job would be looked at." in run("resync", "--dry-run", "--status", "initializing")
    assert f"{job.pk}  failed (was initializing)  {job.name}" in run("resync", str(job.pk))


def test_resync_takes_what_was_chosen(owner: Any, job: Job) -> None:
    assert "0 jobs would be looked at." in run("resync", "--dry-run", "--status", "running")
    assert "0 jobs would be looked at." in run("resync", "--dry-run", "--older-than", "5")
    Job.objects.filter(pk=job.pk).update(updated_at=Now() - timedelta(minutes=6))
    assert "1 job would be looked at." in run("resync", "--dry-run", "--older-than", "5")
    waiting = make_job(owner.user, start=True)
    assert "has no machine" in run("resync", str(waiting.pk))


def test_resync_refuses_what_is_not_there(world: World) -> None:
    with pytest.raises(CommandError, match="There is no such job"):
        run("resync", str(uuid4()))
    with pytest.raises(CommandError, match="last part of its page's address"):
        run("resync", "12")
