"""Whatever people, workers, machines and the provider do in whatever order: what must be true stays true.

The services are the product's, on PostgreSQL; only the outside is scripted. Each example ends with the world healed:
then everything must come to its end by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline import ingest
from pipeline.models import AccountLook, Attempt, Job
from pipeline.providers.base import CreateRequest, MachineState, NoCapacity, Refused, Unavailable
from pipeline.services import observation, stopping, submission, sweeping
from pipeline.services.errors import Conflict
from pipeline.services.jobs import delete_job, request_cancel
from pipeline.services.orders import confirm
from tests.chaos import invariants
from tests.chaos.border import PLACES, dies_at, travel
from tests.factories import make_dataset, make_job, make_user
from tests.fakes.provider import ScriptedProvider, World
from tests.pipeline.steps import program_says

EXAMPLES, STEPS = (150, 50) if os.environ.get("STOKER_CHAOS") else (15, 30)
TASKS: dict[str, Callable[[], object]] = {
    "submit": submission.submit_due,
    "poll": observation.poll_due,
    "cancel": stopping.stop_due,
    "sweep": lambda: sweeping.sweep_due(),
}


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.world = World()
        ScriptedProvider.world = self.world
        self.jobs: list[Any] = []
        self.endings: dict[object, tuple[str, str]] = {}
        self.monkeypatch = pytest.MonkeyPatch()

    @initialize()
    def somebody(self) -> None:
        self.owner = make_user()
        self.dataset = make_dataset(self.owner)

    # People

    @precondition(lambda self: len(self.jobs) < 3)
    @rule(attempts=st.integers(1, 3))
    def starts_a_job(self, attempts: int) -> None:
        self.jobs.append(make_job(self.owner, dataset=self.dataset, start=True, max_attempts=attempts).pk)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancels(self, data: st.DataObject) -> None:
        with contextlib.suppress(Conflict):
            request_cancel(data.draw(st.sampled_from(self.jobs)))

    # Workers and time

    @rule(task=st.sampled_from(["submit", "poll", "poll", "poll", "cancel", "sweep"]))
    def works(self, task: str) -> None:
        TASKS[task]()

    @rule(task=st.sampled_from(["submit", "submit", "poll", "cancel"]), place=st.sampled_from(PLACES))
    def dies(self, task: str, place: str) -> None:
        dies_at(place, TASKS[task], self.monkeypatch)

    @rule(seconds=st.sampled_from([1, 5, 16, 31, 61, 121, 400, 1300]))
    def waits(self, seconds: float) -> None:
        travel(seconds)

    # Programs and their machines

    def running(self) -> list[Attempt]:
        names = [machine.name for machine in self.world.alive if machine.state is MachineState.RUNNING]
        return list(Attempt.objects.filter(name__in=names, outcome="").exclude(state__in=invariants.CLOSED))

    @rule()
    def programs_call(self) -> None:
        for attempt in self.running():
            ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 2.0}])

    @rule(outcome=st.sampled_from(["completed", "failed", "stopped"]))
    def programs_end(self, outcome: str) -> None:
        for attempt in self.running():
            program_says(attempt, outcome)

    @precondition(lambda self: self.world.alive)
    @rule(data=st.data(), state=st.sampled_from([*MachineState, None]))
    def machine_changes(self, data: st.DataObject, state: MachineState | None) -> None:
        name = data.draw(st.sampled_from(sorted(machine.name for machine in self.world.alive)))
        if state is None:
            del self.world.machines[name]
        else:
            self.world.machines[name] = replace(self.world.machines[name], state=state, detail="So it is.")

    # The provider

    @rule(error=st.sampled_from([None, None, NoCapacity("Full."), Refused("No."), Unavailable("500")]))
    def creates_go(self, error: Exception | None) -> None:
        self.world.on_create = _raising(error)

    @rule(lost=st.booleans())
    def answers_get_lost(self, lost: bool) -> None:
        self.world.after_create = _raising(Unavailable("cut") if lost else None)

    @rule(fails=st.booleans())
    def looks_go(self, fails: bool) -> None:
        self.world.look_error = Unavailable("502") if fails else None

    @rule(fails=st.booleans(), at_once=st.booleans())
    def orders_go(self, fails: bool, at_once: bool) -> None:
        self.world.stop_error = Unavailable("500") if fails else None
        self.world.stops_at_once = at_once

    @rule(hidden=st.booleans())
    def the_list_lags(self, hidden: bool) -> None:
        self.world.hidden = set(self.world.machines) if hidden else set()

    # What must be true

    @invariant()
    def always(self) -> None:
        invariants.always(self.endings)

    @invariant()
    def never_asked_twice(self) -> None:
        created = [name for operation, name in self.world.calls if operation == "create"]
        assert len(created) == len(set(created)), "I1: a second create of one attempt"

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.monkeypatch.undo()
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            ScriptedProvider.world = World()

    def heal(self) -> None:
        """Nothing goes wrong any more. Programs end, hours pass, and nobody helps but for what only people may do."""
        world = self.world
        world.on_create = world.after_create = world.look_error = world.stop_error = None
        world.stops_at_once, world.hidden = True, set()
        for _ in range(40):
            for machine in world.alive:
                if machine.state is MachineState.UNKNOWN:  # a word nobody knows, for ever, is not a healed world
                    world.change(machine.name, state=MachineState.RUNNING)
            for attempt in self.running():
                program_says(attempt, "completed")
            for task in TASKS.values():
                task()
            for look in AccountLook.objects.exclude(held_back=""):
                confirm(look, actor="operator")
            invariants.always(self.endings)
            if not world.alive and not Job.objects.active().exists():
                break
            travel(70)
        invariants.at_rest(machine.name for machine in world.alive)
        assert world.alive == []
        for job_id in self.jobs:
            delete_job(job_id)


def _raising(error: Exception | None) -> Callable[[CreateRequest], None] | None:
    if error is None:
        return None

    def raise_it(request: CreateRequest) -> None:
        raise error

    return raise_it


@pytest.mark.scenario(53, "I1 I2 I3 I4 I8 I10")
@pytest.mark.timeout(900)
@pytest.mark.django_db
def test_whatever_happens_what_must_be_true_stays_true(world: World) -> None:
    profile = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Walk, settings=profile)
    assert Job.objects.count() == 0
