"""What every provider must do, tried on each of them. A new provider adds one line to HARNESSES and gets all of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.providers.base import (
    ChecksAccount,
    Machine,
    MachineRef,
    MachineState,
    NoCapacity,
    ProviderError,
    Refused,
    Unavailable,
)
from tests.pipeline.providers.child import run_child
from tests.pipeline.providers.cluster_harness import ClusterHarness
from tests.pipeline.providers.harness import INSTALLATION, Harness, is_sentence
from tests.pipeline.providers.local_harness import LocalHarness
from tests.pipeline.providers.runpod_harness import RunPodHarness
from tests.pipeline.providers.simulated_harness import SimulatedHarness
from tests.waiting import until

HARNESSES: tuple[type[Harness], ...] = (
    LocalHarness,
    SimulatedHarness,
    ClusterHarness,
    RunPodHarness,
)

LIVE = (MachineState.STARTING, MachineState.RUNNING)


@pytest.fixture(params=HARNESSES, ids=lambda harness: harness.path.rpartition(".")[2])
def harness(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Iterator[Harness]:
    home = tmp_path / "home"
    home.mkdir()
    made = request.param(settings, home)
    yield made
    made.close()


class ProviderConformance:
    def test_it_says_what_it_is(self, harness: Harness) -> None:
        provider = harness.provider()
        assert provider.name
        assert provider.label
        assert isinstance(provider.simulated, bool)
        assert isinstance(provider.runs_program, bool)
        assert isinstance(provider.stop_is_graceful, bool)
        assert isinstance(provider.needs_account, bool)
        assert isinstance(provider.finds_by_name, bool)
        assert isinstance(provider.environment_is_public, bool)
        assert isinstance(provider.create_is_idempotent, bool)
        assert provider.provision_seconds > 0
        assert isinstance(provider, ChecksAccount) or not provider.needs_account
        assert 0 < provider.poll_seconds <= 60
        assert provider.contact_seconds > 0

    def test_its_offers_are_sane(self, harness: Harness) -> None:
        offers = harness.provider().offers()
        assert offers
        assert len({(offer.type, offer.cloud) for offer in offers}) == len(offers)
        for offer in offers:
            assert offer.provider == harness.provider().name
            assert offer.type
            assert offer.label
            assert isinstance(offer.price_per_hour, Decimal)
            assert offer.price_per_hour >= 0
            assert offer.memory_gb is None or offer.memory_gb > 0
            assert offer.available is None or offer.available >= 0
            assert offer.max_count >= 1
            assert ("Simulated" in offer.label) == harness.provider().simulated

    def test_a_machine_is_created_seen_and_comes_to_its_end(self, harness: Harness) -> None:
        name = harness.new_name()
        before = datetime.now(UTC) - timedelta(seconds=1)
        created = harness.provider().create(harness.ending(name))
        assert created.name == name
        assert created.external_id
        assert created.created_at is not None
        assert before <= created.created_at <= datetime.now(UTC)
        end = until(lambda: _gone(harness, name), 20, "the machine to come to its end")
        if isinstance(end, Machine):
            assert is_sentence(end.detail)
            assert end.external_id == created.external_id
            assert end.created_at == created.created_at

    def test_creating_twice_gives_one_machine(self, harness: Harness) -> None:
        name = harness.new_name()
        first = harness.provider().create(harness.lasting(name))
        second = harness.provider().create(harness.lasting(name))
        assert second.external_id == first.external_id
        assert second.created_at == first.created_at
        assert harness.existing() == [name]

    def test_creating_again_after_the_end_makes_no_new_machine(self, harness: Harness) -> None:
        if harness.forgets:
            return  # nobody knows there any more; the server asks for a name once only
        name = harness.create()
        harness.end(name, force=True)
        assert harness.provider().create(harness.lasting(name)).state is MachineState.GONE

    def test_creating_from_eight_threads_gives_one_machine(self, harness: Harness) -> None:
        if not harness.provider().create_is_idempotent:
            return  # it cannot be had there; the server asks under a lease
        name = harness.new_name()
        request = harness.lasting(name)
        with ThreadPoolExecutor(8) as pool:
            machines = list(pool.map(lambda _: harness.provider().create(request), range(8)))
        assert len({(machine.name, machine.external_id, machine.created_at) for machine in machines}) == 1
        assert harness.existing() == [name]

    def test_a_live_machine_is_observed(self, harness: Harness) -> None:
        name = harness.create()
        machine = harness.provider().observe([harness.ref(name)])[name]
        assert machine.state in LIVE
        assert is_sentence(machine.detail)
        assert until(lambda: harness.state(name) is MachineState.RUNNING, 20, "the machine to run")

    def test_a_name_alone_finds_a_machine_or_says_nothing_about_it(self, harness: Harness) -> None:
        name = harness.create()
        seen = harness.provider().observe([MachineRef(name)])
        if harness.provider().finds_by_name:
            assert seen[name].state in LIVE
        else:
            assert seen == {}

    def test_an_unknown_name_is_absent(self, harness: Harness) -> None:
        name = harness.create()
        seen = harness.provider().observe([harness.ref(name), harness.ref(harness.new_name())])
        assert set(seen) == {name}

    def test_observing_nothing_is_fine(self, harness: Harness) -> None:
        assert harness.provider().observe([]) == {}

    def test_stopping_what_is_missing_is_fine(self, harness: Harness) -> None:
        for force in (False, True):
            harness.provider().stop(harness.ref(harness.new_name()), force=force)

    @pytest.mark.parametrize("force", [False, True], ids=["politely", "by force"])
    def test_a_stop_makes_it_gone(self, harness: Harness, force: bool) -> None:
        name = harness.create()
        until(lambda: harness.state(name) is MachineState.RUNNING, 20, "the machine to run")
        harness.end(name, force=force)
        machine = harness.provider().observe([harness.ref(name)]).get(name)
        assert machine is None or is_sentence(machine.detail)

    def test_a_stop_right_after_create_makes_it_gone(self, harness: Harness) -> None:
        harness.end(harness.create())

    def test_stopping_what_is_gone_changes_nothing(self, harness: Harness) -> None:
        name = harness.create(ends=True)
        end = until(lambda: _gone(harness, name), 20, "the machine to come to its end")
        for force in (False, True):
            harness.provider().stop(harness.ref(name), force=force)
        assert _gone(harness, name) == end

    def test_gone_is_final(self, harness: Harness) -> None:
        name = harness.create()
        harness.end(name)
        looks = [harness.provider().observe([harness.ref(name)]).get(name) for _ in range(20)]
        assert all(look == looks[0] for look in looks)

    def test_the_inventory_is_ours_and_alive(self, harness: Harness) -> None:
        provider = harness.provider()
        if not provider.finds_by_name:
            harness.create()
            assert provider.inventory() == [], "what cannot be listed is not made up"
            return
        ended = harness.create()
        harness.end(ended, force=True)
        foreign = harness.new_name(installation="0badf00d")
        provider.create(harness.lasting(foreign))
        living = harness.create()
        listed = provider.inventory()
        assert [machine.name for machine in listed] == [living]
        assert listed[0].name.startswith(f"stoker-{INSTALLATION}-")
        assert listed[0].state is not MachineState.GONE
        assert listed[0].external_id

    def test_no_capacity_is_said_as_such(self, harness: Harness) -> None:
        request = harness.too_much()
        with pytest.raises(NoCapacity) as caught:
            harness.provider().create(request)
        assert is_sentence(str(caught.value))
        assert harness.state(request.name) is None

    @pytest.mark.parametrize(
        "wrong", [{"name": "../../escape"}, {"name": ""}, {"gpu_type": "abacus"}, {"gpu_count": 0}, {"gpu_count": 999}]
    )
    def test_what_can_never_work_is_refused_with_a_sentence(self, harness: Harness, wrong: dict[str, Any]) -> None:
        request = harness.request(**({"name": harness.new_name()} | wrong))
        with pytest.raises(Refused) as caught:
            harness.provider().create(request)
        assert is_sentence(str(caught.value))
        assert harness.existing() == []

    def test_what_cannot_be_reached_is_unavailable_and_never_empty(self, harness: Harness) -> None:
        name = harness.create(ends=True)
        until(lambda: _gone(harness, name), 20, "the machine to come to its end")
        request = harness.lasting(harness.new_name())
        harness.names.clear()
        harness.cut_off()
        provider = harness.provider()
        calls = [
            lambda: provider.create(request),
            lambda: provider.observe([harness.ref(name)]),
            lambda: provider.stop(harness.ref(name)),
        ]
        if provider.finds_by_name:
            calls.append(provider.inventory)
        for call in calls:
            with pytest.raises(Unavailable) as caught:
                call()
            assert isinstance(caught.value, ProviderError)
            assert is_sentence(str(caught.value))

    def test_another_process_sees_and_stops_the_same_machine(self, harness: Harness) -> None:
        name = harness.create()
        seen = run_child(harness, "observe", name)
        assert seen["state"] in LIVE
        assert seen["created_at"] == harness.provider().create(harness.lasting(name)).created_at.isoformat()
        run_child(harness, "end", name)
        assert harness.state(name) in (MachineState.GONE, None)

    def test_a_machine_made_by_another_process_is_found(self, harness: Harness) -> None:
        name = harness.new_name()
        made = run_child(harness, "create", name)
        assert made["state"] in LIVE
        assert harness.state(name) in LIVE
        assert harness.existing() == [name]

    def test_no_call_takes_long(self, harness: Harness) -> None:
        provider, name = harness.provider(), harness.new_name()
        request = harness.lasting(name)
        calls = [
            provider.offers,
            provider.free_slots,
            lambda: provider.create(request),
            lambda: provider.create(request),
            lambda: provider.observe([harness.ref(name)]),
            provider.inventory,
            lambda: provider.stop(harness.ref(name)),
            lambda: provider.stop(harness.ref(name), force=True),
        ]
        for call in calls:
            started = time.monotonic()
            call()
            assert time.monotonic() - started < harness.call_seconds

    def test_free_slots_come_back(self, harness: Harness) -> None:
        free = harness.provider().free_slots()
        assert (free is not None) is harness.provider().has_slots
        if free is None:
            return  # only trying tells
        name = harness.create()
        assert harness.provider().free_slots() == free - 1
        harness.end(name, force=True)
        assert harness.provider().free_slots() == free

    def test_its_reports_are_in_order_and_never_repeat(self, harness: Harness) -> None:
        """Only for providers that report instead of a program."""
        if harness.provider().runs_program:
            return
        name, seen, ended = harness.create(ends=True), 0, False
        until(lambda: harness.state(name) is not MachineState.STARTING, 20, "the machine to run")

        def followed() -> bool:
            nonlocal seen, ended
            machine = harness.provider().observe([replace(harness.ref(name), after_step=seen)])[name]
            assert machine.report is not None
            steps = [point["step"] for point in machine.report.points]
            assert steps == sorted(set(steps))
            assert not steps or steps[0] > seen
            seen = max([seen, *steps])
            return machine.state is MachineState.GONE

        until(followed, 20, "the report of the end")
        last = harness.provider().observe([replace(harness.ref(name), after_step=seen)])[name]
        assert last.report is not None
        assert last.report.total_steps == seen
        assert list(last.report.points) == []
        assert last.outcome is not None


def _gone(harness: Harness, name: str) -> Machine | str | None:
    """The machine that is gone, or "forgotten" where nothing is left of it; None while it is there."""
    machine = harness.provider().observe([harness.ref(name)]).get(name)
    if machine is None:
        assert harness.forgets
        return "forgotten"
    return machine if machine.state is MachineState.GONE else None
