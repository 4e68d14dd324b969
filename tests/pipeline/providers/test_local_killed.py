"""The local provider: what becomes of a run when its creator, its supervisor or the machine dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from pipeline.providers.base import MachineRef, MachineState
from tests.pipeline.providers.child import KILLED, ROOT, command, run_child
from tests.pipeline.providers.local_harness import (
    LocalHarness,
    gone,
    is_alive,
    kill,
    look,
    pid_in,
    ready,
    run_of,
)


class TestKilledCreator:
    def test_before_the_directory_appears_nothing_is_left(self, local: LocalHarness) -> None:
        name = local.new_name()
        assert run_child(local, "create", name, die_at="os.rename") == {"exit_code": KILLED}
        assert local.state(name) is None
        assert local.provider().free_slots() == 2
        assert list((local.home / "runs").glob(".new-*"))
        local.provider().create(local.lasting(name))
        ready(local, name)
        assert not list((local.home / "runs").glob(".new-*"))

    def test_before_the_process_exists_it_is_seen_that_nothing_started(self, local: LocalHarness) -> None:
        name = local.new_name()
        run_child(local, "create", name, die_at="subprocess.Popen")
        machine = look(local, name)
        assert machine.state is MachineState.GONE
        assert "never started" in machine.detail
        assert local.provider().free_slots() == 2
        assert local.provider().inventory() == []
        assert local.provider().create(local.lasting(name)).state is MachineState.GONE

    def test_after_the_process_exists_the_run_is_found_and_not_started_again(self, local: LocalHarness) -> None:
        name = local.new_name()
        run_child(local, "create", name, die_at="subprocess.Popen.wait")
        ready(local, name)
        assert local.state(name) is MachineState.RUNNING
        local.provider().create(local.lasting(name))
        assert (run_of(local, name).path / "output.log").read_text().count("started") == 1

    def test_killing_its_whole_process_group_does_not_reach_the_run(self, local: LocalHarness) -> None:
        name = local.new_name()
        words = command(local, "create and stay", name)
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as creator:
            assert creator.stdout is not None
            assert creator.stdout.readline() == b"created\n"
            pid = int(ready(local, name))
            os.killpg(creator.pid, signal.SIGTERM)
            os.killpg(creator.pid, signal.SIGKILL)
        assert local.state(name) is MachineState.RUNNING
        assert is_alive(pid)
        assert os.getsid(pid) != creator.pid

    def test_an_empty_directory_of_that_name_is_no_run(self, local: LocalHarness) -> None:
        name = local.new_name()
        (local.home / "runs" / name).mkdir(parents=True)
        assert local.state(name) is None
        local.provider().create(local.lasting(name))
        ready(local, name)

    def test_a_directory_of_that_name_without_a_run_is_gone_and_not_starting_for_ever(
        self, local: LocalHarness
    ) -> None:
        name = local.new_name()
        (local.home / "runs" / name / "work").mkdir(parents=True)
        machine = look(local, name)
        assert machine.state is MachineState.GONE
        assert "never started" in machine.detail


class TestKilledSupervisor:
    def test_the_program_lives_on_and_is_seen_running(self, local: LocalHarness) -> None:
        name = local.start("obey")
        pid = int(ready(local, name))
        kill(pid_in(local, name, "supervisor.json"))
        machine = look(local, name)
        assert machine.state is MachineState.RUNNING
        assert "supervisor is dead" in machine.detail
        assert local.provider().free_slots() == 1
        assert [m.name for m in local.provider().inventory()] == [name]
        local.end(name)
        assert not is_alive(pid)
        assert (run_of(local, name).work_dir / "checkpoint").exists()

    def test_both_dead_is_gone_without_an_exit_code(self, local: LocalHarness) -> None:
        name = local.start("obey")
        pid = int(ready(local, name))
        kill(pid_in(local, name, "supervisor.json"))
        kill(pid)
        machine = gone(local, name)
        assert machine.exit_code is None
        assert "left no exit code" in machine.detail

    def test_what_the_dead_program_left_behind_is_seen_and_ended(self, local: LocalHarness) -> None:
        name = local.start("family")
        child = int(ready(local, name, "child"))
        kill(pid_in(local, name, "supervisor.json"))
        kill(pid_in(local, name, "program.json"))
        assert local.state(name) is MachineState.EXITED
        assert [m.name for m in local.provider().inventory()] == [name]
        local.end(name)
        assert not is_alive(child)

    def test_a_frozen_supervisor_cannot_keep_the_run_alive(
        self, local: LocalHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.providers.local.run.RECORDING_SECONDS", 0.2)
        name = local.start("ignore")
        ready(local, name)
        os.kill(pid_in(local, name, "supervisor.json"), signal.SIGSTOP)
        local.end(name, force=True)


class TestIdentity:
    def test_a_reused_process_id_is_neither_taken_for_the_run_nor_killed(self, local: LocalHarness) -> None:
        name = local.start("obey")
        pid = int(ready(local, name))
        kill(pid_in(local, name, "supervisor.json"))
        kill(pid)
        with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as innocent:
            for file in ("supervisor.json", "program.json"):
                path = run_of(local, name).path / file
                path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": innocent.pid}))
            assert look(local, name).state is MachineState.GONE
            local.provider().stop(MachineRef(name), force=True)
            run_of(local, name).kill()
            run_of(local, name).ask_to_end()
            assert is_alive(innocent.pid)
            innocent.kill()

    def test_after_a_restart_of_the_machine_the_run_is_gone(self, local: LocalHarness) -> None:
        name = local.start("obey")
        pid = int(ready(local, name))
        kill(pid_in(local, name, "supervisor.json"))
        kill(pid)
        path = run_of(local, name).path / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"boot_id": "an-earlier-boot"}))
        machine = look(local, name)
        assert machine.state is MachineState.GONE
        assert "machine was restarted" in machine.detail
        assert machine.exit_code is None

    def test_torn_files_raise_nothing(self, local: LocalHarness) -> None:
        """As a power cut leaves them."""
        name = local.start("exit", "0")
        gone(local, name)
        for file in ("run.json", "supervisor.json", "program.json", "exit.json"):
            (run_of(local, name).path / file).write_bytes(b"")
        assert gone(local, name).exit_code is None
