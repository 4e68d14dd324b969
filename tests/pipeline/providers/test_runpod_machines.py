"""Looking at machines at RunPod and ending them: what is seen, what is concluded, and what is not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from decimal import Decimal
from typing import Any

import pytest

from pipeline.providers.base import MachineRef, MachineState, Unavailable
from pipeline.providers.runpod import client, provider
from tests.pipeline.providers.harness import is_sentence
from tests.pipeline.providers.runpod_harness import GPU, RunPodHarness, create, look, pod_of, ref


class TestObserve:
    def test_one_look_serves_all_and_walks_all_pages(
        self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "PAGE", 3)
        machines = [create(runpod) for _ in range(8)]
        before = len(runpod.fake.calls())
        seen = look(runpod, *map(ref, machines))
        assert {name: machine.external_id for name, machine in seen.items()} == {
            m.name: m.external_id for m in machines
        }
        assert [call.operation for call in runpod.fake.calls()[before:]] == ["list"] * 3
        runpod.fake.fault("no_pagination", operation="list")
        assert runpod.provider().inventory()

    def test_a_list_without_an_end_is_no_answer(self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "PAGE", 1)
        monkeypatch.setattr(client, "MAX_PAGES", 2)
        machines = [create(runpod) for _ in range(2)]
        assert len(look(runpod, *map(ref, machines))) == 2
        runpod.fake.plant("another")
        with pytest.raises(Unavailable):
            look(runpod, ref(machines[0]))

    def test_it_runs_only_when_its_container_does(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("stuck", at="RUNNING", times=1)
        stuck, running = create(runpod), create(runpod)
        states = {name: machine.state for name, machine in look(runpod, ref(stuck), ref(running)).items()}
        assert states == {stuck.name: MachineState.STARTING, running.name: MachineState.RUNNING}

    @pytest.mark.parametrize(
        ("fields", "state"),
        [
            ({"status": "PROVISIONING"}, MachineState.STARTING),
            ({"status": "STARTING"}, MachineState.STARTING),
            ({"runtime": None}, MachineState.STARTING),
            ({"runtime": {}}, MachineState.STARTING),
            ({"runtime": "soon"}, MachineState.STARTING),
            ({"runtime": {"uptime": 0}}, MachineState.STARTING),
            ({"runtime": {"uptime": "12"}}, MachineState.RUNNING),
            ({"status": "EXITED"}, MachineState.EXITED),
            ({"status": "EXITED", "runtime": {"uptime": 99}}, MachineState.EXITED),
            ({"status": "ERROR"}, MachineState.EXITED),
            ({"status": "TERMINATED"}, MachineState.GONE),
            ({"status": "HIBERNATING"}, MachineState.UNKNOWN),
            ({"status": None}, MachineState.UNKNOWN),
            ({"status": ["RUNNING"]}, MachineState.UNKNOWN),
            ({"gpu": {"id": GPU, "count": 0}}, MachineState.EXITED),
            ({"gpu": {"id": GPU, "count": 1}}, MachineState.EXITED),  # two were asked for
            ({"gpu": None}, MachineState.RUNNING),
            ({"gpu": {"count": "many"}}, MachineState.RUNNING),
        ],
    )
    def test_each_word_has_its_meaning(
        self, runpod: RunPodHarness, fields: dict[str, Any], state: MachineState
    ) -> None:
        machine = create(runpod, gpu_count=2)
        runpod.fake.fault("change", fields=fields)
        found = look(runpod, ref(machine))[machine.name]
        assert found.state is state
        assert is_sentence(found.detail)

    @pytest.mark.parametrize(
        ("cost", "price"),
        [
            (0.5, Decimal("0.5")), ("0.5", Decimal("0.5")), (0, None), (None, None), ("free", None), (-1, None),
            (True, None), ([1], None), (float("1e300"), None),
        ],
    )  # fmt: skip
    def test_a_price_may_have_any_form(self, runpod: RunPodHarness, cost: Any, price: Decimal | None) -> None:
        machine = create(runpod)
        runpod.fake.fault("change", fields={"cost": cost})
        assert look(runpod, ref(machine))[machine.name].price_per_hour == price

    def test_missing_and_odd_fields_break_nothing(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        fields = ["name", "cost", "gpu", "cloud", "createdAt", "runtime", "status"]
        fault = runpod.fake.fault("drop", fields=fields)
        found = look(runpod, ref(machine))[machine.name]  # by its id, and by the name in its environment
        assert (found.state, found.created_at, found.gpu_type) == (MachineState.UNKNOWN, None, "")
        runpod.fake.clear(fault.id)
        odd = {"createdAt": 17, "gpu": [], "cloud": 3, "env": None, "runtime": 1}
        runpod.fake.fault("change", fields=odd | {"name": None})
        assert look(runpod, ref(machine))[machine.name].external_id == machine.external_id
        assert runpod.provider().inventory() == []

    def test_a_renamed_machine_is_still_ours(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("change", fields={"name": "my-precious"})
        assert machine.name in look(runpod, MachineRef(machine.name))
        assert [found.name for found in runpod.provider().inventory()] == [machine.name]

    def test_of_two_with_one_name_the_oldest_is_shown_and_both_are_listed(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("duplicate")
        machine = create(runpod)
        first, second = runpod.fake.pods(machine.name)
        second.created_at -= 60
        assert look(runpod, MachineRef(machine.name))[machine.name].external_id == second.id
        assert look(runpod, MachineRef(machine.name, first.id))[machine.name].external_id == first.id
        assert sorted(found.external_id for found in runpod.provider().inventory()) == sorted([first.id, second.id])

    def test_a_name_is_gone_only_when_nothing_bears_it(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("duplicate")
        machine = create(runpod)
        other = next(pod for pod in runpod.fake.pods(machine.name) if pod.id != machine.external_id)
        runpod.provider().stop(ref(machine))
        seen = look(runpod, ref(machine, end_expected=True))[machine.name]
        assert (seen.state, seen.external_id) == (MachineState.RUNNING, other.id)
        runpod.provider().stop(ref(machine))
        assert look(runpod, ref(machine, end_expected=True))[machine.name].state is MachineState.GONE

    @pytest.mark.parametrize("fault", ["empty_list", "hide"])
    def test_a_machine_missing_from_the_list_is_asked_for_by_itself(self, runpod: RunPodHarness, fault: str) -> None:
        machines = [create(runpod) for _ in range(3)]
        runpod.fake.fault(fault, operation="list")
        seen = look(runpod, *map(ref, machines))
        assert {machine.state for machine in seen.values()} == {MachineState.RUNNING}
        assert len(seen) == 3

    def test_what_cannot_be_asked_for_in_one_look_is_unknown_and_never_absent(
        self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provider, "SINGLE_LOOKS", 2)
        machines = [create(runpod) for _ in range(5)]
        runpod.fake.fault("empty_list")
        states = sorted(machine.state for machine in look(runpod, *map(ref, machines)).values())
        assert states == ["running", "running", "unknown", "unknown", "unknown"]

    def test_a_single_look_that_fails_leaves_that_machine_unknown(self, runpod: RunPodHarness) -> None:
        lost, found = create(runpod), create(runpod)
        runpod.fake.fault("hide", operation="list", name=lost.name)
        runpod.fake.fault("down", operation="get")
        states = {name: machine.state for name, machine in look(runpod, ref(lost), ref(found)).items()}
        assert states == {lost.name: MachineState.UNKNOWN, found.name: MachineState.RUNNING}

    def test_a_proxys_404_is_not_runpods_word(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("empty_list")
        runpod.fake.fault("error", operation="get", status=404, html=True)
        assert look(runpod, ref(machine))[machine.name].state is MachineState.UNKNOWN

    def test_a_list_that_lacks_an_old_machine_says_nothing_about_names(self, runpod: RunPodHarness) -> None:
        old = create(runpod)
        runpod.fake.fault("empty_list")
        assert set(look(runpod, ref(old), MachineRef("stoker-c0ffee00-new-a1"))) == {old.name}
        pod_of(runpod.fake, old.name).created_at -= 600
        with pytest.raises(Unavailable, match="incomplete"):
            look(runpod, ref(old), MachineRef("stoker-c0ffee00-new-a1"))

    def test_an_entry_that_is_no_pod_makes_names_unsure_too(self, runpod: RunPodHarness) -> None:
        machine, broken = create(runpod), create(runpod)
        runpod.fake.fault("drop", name=broken.name, operation="list", fields=["id"])
        assert machine.name in look(runpod, ref(machine))
        for call in (lambda: look(runpod, MachineRef("stoker-c0ffee00-new-a1")), runpod.provider().inventory):
            with pytest.raises(Unavailable):
                call()

    def test_a_machine_that_vanished_is_absent_and_only_after_a_yes_gone(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("vanish", name=machine.name)
        assert look(runpod, ref(machine)) == {}
        gone = look(runpod, ref(machine, end_expected=True))[machine.name]
        assert gone.state is MachineState.GONE
        assert is_sentence(gone.detail)

    def test_passing_faults_are_asked_past(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("error", operation="list", status=502, times=1)
        runpod.fake.fault("rate_limit", operation="list", retry_after=0.01, after=1, times=1)
        assert machine.name in look(runpod, ref(machine))
        assert len(runpod.fake.calls("list")) == 4  # one before the request for the machine

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "down"}, {"kind": "html"}, {"kind": "garbled"}, {"kind": "short"}, {"kind": "cut"},
            {"kind": "blocked"}, {"kind": "rate_limit", "retry_after": 60},
            {"kind": "error", "status": 404, "detail": "no such route"},
            {"kind": "error", "status": 302},
        ],
        ids=lambda fault: str(fault["kind"]),
    )  # fmt: skip
    def test_a_look_that_fails_says_nothing(self, runpod: RunPodHarness, fault: dict[str, Any]) -> None:
        machine = create(runpod)
        runpod.fake.fault(fault.pop("kind"), operation="list", **fault)
        with pytest.raises(Unavailable) as caught:
            look(runpod, ref(machine))
        assert is_sentence(str(caught.value))

    def test_an_answer_that_comes_drop_by_drop_is_given_up(
        self, runpod: RunPodHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "WHOLE_SECONDS", 0.0)
        with Dripping() as url:
            settings.RUNPOD_API_URL = url
            began = time.monotonic()
            with pytest.raises(Unavailable):
                runpod.provider().inventory()
            assert time.monotonic() - began < 5


class Dripping:
    """A server whose answer never stands still for long, and never ends."""

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
            while not self._done.wait(0.02):
                connection.sendall(b" ")


class TestStop:
    def test_it_deletes_by_id_with_one_call(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        before = len(runpod.fake.calls())
        runpod.provider().stop(ref(machine))
        assert [call.operation for call in runpod.fake.calls()[before:]] == ["delete"]
        assert runpod.fake.pods() == []

    def test_without_an_id_all_of_that_name_are_deleted(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("duplicate")
        machine, other = create(runpod), create(runpod)
        runpod.provider().stop(MachineRef(machine.name))
        assert [pod.name for pod in runpod.fake.pods()] == [other.name]

    def test_a_namesake_is_left_alone_where_the_id_alone_counts(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        with pytest.raises(Unavailable):
            runpod.provider().stop(MachineRef(machine.name, "gone", id_only=True))
        assert [pod.name for pod in runpod.fake.pods()] == [machine.name]
        runpod.provider().stop(MachineRef(machine.name, machine.external_id, id_only=True))
        assert runpod.fake.pods() == []

    def test_a_new_machine_that_no_call_shows_is_not_taken_for_deleted(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("late", seconds=90)
        with pytest.raises(Unavailable) as caught:
            runpod.provider().stop(ref(machine))
        assert is_sentence(str(caught.value))
        assert look(runpod, ref(machine)) == {}, "nothing was said yes to, so nothing is said to be gone"
        runpod.fake.clock.advance(100)
        runpod.provider().stop(ref(machine))
        assert runpod.fake.pods() == []

    @pytest.mark.parametrize("fault", [{"kind": "locked"}, {"kind": "down"}, {"kind": "cut"}], ids=lambda f: f["kind"])
    def test_an_order_that_was_not_taken_is_told(self, runpod: RunPodHarness, fault: dict[str, Any]) -> None:
        machine = create(runpod)
        values = {} if fault["kind"] == "locked" else {"operation": "delete"}
        runpod.fake.fault(fault["kind"], **values)
        with pytest.raises(Unavailable) as caught:
            runpod.provider().stop(ref(machine), force=True)
        assert is_sentence(str(caught.value))
        assert len(runpod.fake.pods()) == 1

    def test_a_yes_that_was_a_lie_shows_in_the_next_look(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("pretend")
        runpod.provider().stop(ref(machine))
        assert look(runpod, ref(machine, end_expected=True))[machine.name].state is MachineState.RUNNING

    def test_done_though_the_answer_was_an_error(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.fault("error", operation="delete", status=500, effect=True)
        with pytest.raises(Unavailable):
            runpod.provider().stop(ref(machine))
        assert runpod.fake.pods() == []
        assert look(runpod, ref(machine)) == {}
