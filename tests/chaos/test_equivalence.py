"""The simulator's shell against the product's: the same histories on both, compared after every step."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from pipeline import ingest
from pipeline.models import Job as JobRow
from pipeline.providers.base import CreateRequest, Machine, MachineRef, MachineState, NoCapacity, Refused, Unavailable
from pipeline.services import observation, stopping, submission
from pipeline.services.errors import Conflict
from pipeline.services.facts import traits_of
from pipeline.services.jobs import request_cancel
from pipeline.states import ATTEMPT_CLOSED, TERMINAL, EndReason, JobStatus
from tests.chaos import simulator
from tests.chaos.border import PLACES, dies_at, travel
from tests.factories import make_job, make_user
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import program_says

pytestmark = pytest.mark.django_db
# Two hundred under `make chaos`, as many as there is time for otherwise.
SEEDS, HISTORIES = (8, 25) if os.environ.get("STOKER_CHAOS") else (2, 12)
# No sum of such pauses comes near a limit of the product, so the seconds the test itself takes change no decision.
PAUSE = 11.3


class Rows:
    """The product: its services, its rows in PostgreSQL, and the scripted provider."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.monkeypatch = world, monkeypatch
        self.job = make_job(make_user(), start=True)

    def act(self, name: str, place: str) -> None:
        work = {"submit": submission.submit, "poll": observation.poll, "stop": stopping.stop}[name]
        JobRow.objects.active().filter(pk=self.job.pk).update(next_check_at=Now())
        if place:
            dies_at(place, lambda: work(self.job.pk), self.monkeypatch)
        else:
            work(self.job.pk)

    def cancel(self) -> None:
        with contextlib.suppress(Conflict):
            request_cancel(self.job.pk)

    def wait(self, seconds: float) -> None:
        travel(seconds)

    def attempt(self) -> Any:
        return self.job.attempts.exclude(state__in=list(ATTEMPT_CLOSED)).first()

    def program(self, outcome: str) -> None:
        attempt = self.attempt()
        if attempt is None or attempt.outcome:
            return
        if outcome:
            program_says(attempt, outcome)
        else:
            ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])

    def told(self) -> dict[str, Any]:
        job, now = JobRow.objects.get(pk=self.job.pk), timezone.now()
        return {
            "status": job.status,
            "reason": job.reason,
            "stop": job.stop_reason,
            "attempts": [
                (a.state, a.reason, bool(a.external_id), a.first_missed_at is not None, a.stop_sent_at is not None)
                for a in job.attempts.order_by("n")
            ],
            "leased": job.lease_until is not None and job.lease_until > now,
            "next": None if job.has_ended or job.next_check_at is None else (job.next_check_at - now).total_seconds(),
        }


class ScriptedCloud:
    """The scripted provider as the simulator's shell calls one. Nothing takes any time."""

    def __init__(self) -> None:
        self.provider = ScriptedProvider()
        self.provider.world = World()  # type: ignore[misc]

    def create(self, name: str) -> Generator[float, None, Machine]:
        return self.provider.create(CreateRequest(name, "box", 1, "", {}, 60))
        yield

    def observe(self, name: str) -> Generator[float, None, Machine | None]:
        return self.provider.observe([MachineRef(name)]).get(name)
        yield

    def stop(self, name: str, external_id: str, force: bool) -> simulator.Process:
        self.provider.stop(MachineRef(name, external_id), force=force)
        return
        yield


class Shell(simulator.Server):
    """The simulator's shell, without a clock that runs by itself."""

    def __init__(self) -> None:
        cloud = ScriptedCloud()
        super().__init__(simulator.Clock(), cloud, traits_of(cloud.provider))  # type: ignore[arg-type]
        self.world = cloud.provider.world
        self.place = ""
        self.job = simulator.Job(1)
        self.jobs[1] = self.active[1] = self.job

    def wake(self, *arguments: Any) -> None:
        """Tests' transactions are never committed, so nobody is woken there either."""

    def step(self, place: str = "") -> None:
        if place and place == self.place:
            raise simulator.Crash

    def hear(self, job: simulator.Job, attempt: simulator.Attempt) -> None:
        """The history says what the program does."""

    def act(self, name: str, place: str) -> None:
        work = {"submit": self.submit, "poll": self.poll, "stop": self.stop}[name]
        if self.job.status not in TERMINAL:
            self.job.next_check_at = self.clock.now
        self.place = place
        with contextlib.suppress(simulator.Crash):
            for pause in work(self.job):
                self.clock.now += pause
        self.place = ""

    def cancel(self) -> None:
        self.request_stop(self.job, EndReason.CANCELLED_BY_USER)

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    def program(self, outcome: str) -> None:
        attempt, now = self.job.open_attempt, self.clock.now
        if attempt is None or attempt.outcome:
            return
        if outcome:
            attempt.outcome, attempt.outcome_at = outcome, now
            return
        if self.job.status == JobStatus.INITIALIZING:
            self.job.status = JobStatus.RUNNING
        if attempt.state == "intent":
            attempt.machine_seen_at = attempt.machine_seen_at or now
        attempt.first_contact_at, attempt.last_seen_at = attempt.first_contact_at or now, now

    def told(self) -> dict[str, Any]:
        job, now = self.job, self.clock.now
        return {
            "status": job.status,
            "reason": job.reason,
            "stop": job.stop_reason,
            "attempts": [
                (a.state, a.reason, bool(a.external_id), a.first_missed_at is not None, a.stop_sent_at is not None)
                for a in job.attempts
            ],
            "leased": job.lease is not None and job.lease_until > now,
            "next": None if job.ended_at is not None else job.next_check_at - now,
        }


def _answers(kind: str) -> dict[str, Callable[[CreateRequest], None] | None]:
    def fail(error: Exception) -> Callable[[CreateRequest], None]:
        def raise_it(request: CreateRequest) -> None:
            raise error

        return raise_it

    return {
        "ok": {"on_create": None, "after_create": None},
        "lost": {"on_create": None, "after_create": fail(Unavailable("cut"))},
        "nothing": {"on_create": fail(Unavailable("500")), "after_create": None},
        "full": {"on_create": fail(NoCapacity("full")), "after_create": None},
        "refused": {"on_create": fail(Refused("no")), "after_create": None},
    }[kind]


def play(steps: list[tuple[str, Any]], side: Rows | Shell) -> Generator[dict[str, Any], None, None]:
    world = side.world
    for name, value in steps:
        if name in ("submit", "poll", "stop"):
            side.act(name, value)
        elif name == "wait":
            side.wait(value * PAUSE)
        elif name == "cancel":
            side.cancel()
        elif name == "program":
            side.program(value)
        elif name == "create":
            for field, answer in _answers(value).items():
                setattr(world, field, answer)
        elif name == "hide":
            world.hidden = set(world.machines) if value else set()
        elif name == "look":
            world.look_error = Unavailable("502") if value else None
        elif name == "order":
            world.stop_error = Unavailable("500") if value else None
        elif name == "machine":
            for machine in world.alive:
                if value == "vanished":
                    del world.machines[machine.name]
                else:
                    world.machines[machine.name] = replace(machine, state=MachineState(value))
        yield side.told() | {"calls": [op for op, _ in world.calls], "alive": len(world.alive)}


def history(chance: random.Random) -> list[tuple[str, Any]]:
    kinds = ["submit"] * 4 + ["poll"] * 8 + ["stop"] * 2 + ["wait"] * 7 + ["program"] * 3
    kinds += ["create", "create", "cancel", "hide", "look", "order", "machine"]
    steps: list[tuple[str, Any]] = [("create", chance.choice(["ok", "ok", "lost", "nothing"])), ("submit", "")]
    for _ in range(chance.randint(10, 30)):
        kind = chance.choice(kinds)
        value: Any = ""
        if kind in ("submit", "poll", "stop") and chance.random() < 0.2:
            value = chance.choice(PLACES)
        elif kind == "wait":
            value = chance.choice([1, 1, 2, 3, 4, 6, 11, 30, 60, 110])
        elif kind == "program":
            value = chance.choice(["", "", "", "completed", "failed", "stopped"])
        elif kind == "create":
            value = chance.choice(["ok", "ok", "lost", "nothing", "full", "refused"])
        elif kind in ("hide", "look", "order"):
            value = chance.random() < 0.4
        elif kind == "machine":
            value = chance.choice(["running", "exited", "gone", "unknown", "starting", "vanished"])
        steps.append((kind, value))
    return steps


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_shell_of_the_simulator_does_what_the_product_does(
    seed: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    for number in range(HISTORIES):
        world.__init__()  # type: ignore[misc]
        JobRow.objects.all().delete()  # a look at one job serves all of its account
        steps = history(chance)
        rows, shell = Rows(world, monkeypatch), Shell()
        both = zip(play(steps, rows), play(steps, shell), strict=True)
        for index, (theirs, ours) in enumerate(both):
            where = f"seed {seed}, history {number}, after {steps[: index + 1]}"
            assert _next_looks_are_alike(ours.pop("next"), theirs.pop("next")), where
            assert ours == theirs, where


def _next_looks_are_alike(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return abs(ours - theirs) < 3
