"""The local provider: how runs start, stop and end, their slots, and what they get to see."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.providers.base import MachineRef, MachineState, NoCapacity, Provider, Refused
from pipeline.providers.local import LocalProvider
from pipeline.providers.local.processes import members
from tests.pipeline.providers.child import ROOT, command, run_child
from tests.pipeline.providers.harness import PRICE, TOKEN
from tests.pipeline.providers.local_harness import (
    LocalHarness,
    gone,
    is_alive,
    look,
    pid_in,
    program,
    ready,
    run_of,
)
from tests.waiting import until


def test_it_fulfils_the_protocol() -> None:
    provider: Provider = LocalProvider()
    assert provider.runs_program
    assert provider.stop_is_graceful


class TestEnd:
    def test_the_files_of_runs_that_ended_long_ago_are_deleted_but_the_verdict_stays(self, local: LocalHarness) -> None:
        old, recent = local.start("exit", "0"), local.start("exit", "0")
        gone(local, old)
        gone(local, recent)
        long_ago = time.time() - 8 * 24 * 3600
        os.utime(run_of(local, old).path / "exit.json", (long_ago, long_ago))
        gone(local, local.start("exit", "0"))
        assert not (run_of(local, old).path / "work").exists()
        assert (run_of(local, recent).path / "work").exists()
        assert look(local, old).exit_code == 0

    @pytest.mark.parametrize(
        ("words", "code", "said"),
        [
            (("exit", "0"), 0, "exit code 0 (completed)"),
            (("exit", "11"), 11, "exit code 11 (out_of_memory)"),
            (("exit", "3"), 3, "exit code 3 at"),
            (("die", "9"), 137, "signal 9 (SIGKILL)"),
            (("die", "15"), 143, "signal 15 (SIGTERM)"),
        ],
    )
    def test_the_exit_code_is_told(self, local: LocalHarness, words: tuple[str, ...], code: int, said: str) -> None:
        machine = gone(local, local.start(*words))
        assert machine.exit_code == code
        assert said in machine.detail
        assert machine.outcome is None

    def test_a_program_that_does_not_exist_ends_with_127_and_says_so(self, local: LocalHarness) -> None:
        local.settings.STOKER_LOCAL_COMMAND = ["/nonexistent/python", "x"]
        name = local.new_name()
        local.provider().create(local.request(name))
        machine = gone(local, name)
        assert machine.exit_code == 127
        assert "/nonexistent/python" in machine.output_tail

    def test_the_tail_of_the_output_has_no_secret_and_thirty_lines(self, local: LocalHarness) -> None:
        lines = [f"line {i}" for i in range(50)]
        leaks = ["Authorization: Bearer abcdefgh12345678", "progress 1\rprogress 2", "hf_abcdefghijklmnop"]
        tail = gone(local, local.start("print", *lines, *leaks)).output_tail
        assert TOKEN not in tail
        assert "abcdefgh" not in tail
        assert tail.splitlines()[-1] == "token is [hidden]"
        assert "progress 2" in tail
        assert "progress 1" not in tail
        assert "line 49" in tail
        assert "line 19" not in tail
        assert len(tail.splitlines()) <= 31

    def test_a_process_that_the_program_leaves_behind_is_ended_with_it(self, local: LocalHarness) -> None:
        name = local.start("orphan")
        child = int(ready(local, name, "child"))
        assert gone(local, name).exit_code == 0
        assert not is_alive(child)

    def test_a_run_past_its_cap_is_ended_when_neither_program_nor_server_does_it(
        self, local: LocalHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pipeline.providers.local.supervisor.CAP_MARGIN_SECONDS", 0)
        name = local.new_name()
        local.provider().create(local.request(name, max_seconds=1))
        assert "Its time limit had passed." in gone(local, name).detail

    def test_a_kill_for_want_of_memory_is_told_as_such(self, local: LocalHarness) -> None:
        name = local.start("die", "9")
        gone(local, name)
        path = run_of(local, name).path / "exit.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "out_of_memory"}))
        machine = look(local, name)
        assert (machine.outcome, machine.reason, machine.exit_code) == ("failed", "out_of_memory", 137)


class TestStop:
    def test_the_program_may_save_its_checkpoint(self, local: LocalHarness) -> None:
        name = local.start("obey")
        ready(local, name)
        local.end(name)
        assert look(local, name).exit_code == 75
        assert (run_of(local, name).work_dir / "checkpoint").exists()

    def test_a_stop_in_the_moment_of_the_start_is_not_lost(self, local: LocalHarness) -> None:
        for _ in range(8):
            name = local.start("obey")
            path = run_of(local, name).path
            until((path / "program.json").exists, 10, "the program's process")
            local.provider().stop(MachineRef(name))
            assert gone(local, name).exit_code in (75, 143)

    def test_the_supervisor_holds_signals_back_instead_of_ignoring_them(self, local: LocalHarness) -> None:
        """An ignored SIGTERM would be lost in the forked child that has not become the program yet."""
        name = local.start("obey")
        ready(local, name)
        term = 1 << (signal.SIGTERM - 1)
        status = Path(f"/proc/{pid_in(local, name, 'supervisor.json')}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        assert int(masks["SigBlk"], 16) & term
        assert not int(masks["SigIgn"], 16) & term

    def test_it_is_asked_once_however_often_stop_is_called(self, local: LocalHarness) -> None:
        name = local.start("count")
        ready(local, name)
        for _ in range(5):
            local.provider().stop(MachineRef(name))
        until((run_of(local, name).work_dir / "terms").exists, 10, "the first SIGTERM")
        for _ in range(5):
            local.provider().stop(MachineRef(name))
        assert local.state(name) is MachineState.RUNNING
        local.end(name, force=True)
        assert (run_of(local, name).work_dir / "terms").read_text() == "x"

    def test_after_the_grace_it_is_killed(self, local: LocalHarness) -> None:
        local.settings.STOKER_LOCAL_STOP_GRACE_SECONDS = 0.5
        name = local.start("ignore")
        ready(local, name)
        started = time.monotonic()
        local.end(name)
        assert time.monotonic() - started >= 0.5
        assert look(local, name).exit_code == 137

    def test_the_grace_counts_from_the_first_call_of_any_process(self, local: LocalHarness) -> None:
        name = local.start("ignore")
        ready(local, name)
        run_child(local, "stop", name)
        assert local.state(name) is MachineState.RUNNING
        order = run_of(local, name).path / "stop.json"
        order.write_text(json.dumps({"monotonic": time.monotonic() - 61}))
        local.end(name)

    def test_force_needs_no_grace(self, local: LocalHarness) -> None:
        name = local.start("ignore")
        ready(local, name)
        local.end(name, force=True, timeout=5)
        assert look(local, name).exit_code == 137

    def test_force_reaches_a_grandchild_in_a_session_of_its_own(self, local: LocalHarness) -> None:
        name = local.start("family")
        child = int(ready(local, name, "child"))
        local.end(name, force=True)
        assert not is_alive(child)

    def test_a_stop_before_the_start_starts_nothing(self, local: LocalHarness) -> None:
        """The creator died after it made the directory and before the supervisor read the order."""
        name = local.new_name()
        run_child(local, "create", name, die_at="subprocess.Popen")
        path = run_of(local, name).path
        (path / "stop.json").write_text('{"monotonic": 0}')
        supervisor = ROOT / "pipeline" / "providers" / "local" / "supervisor.py"
        subprocess.run([sys.executable, "-I", "-S", str(supervisor), str(path)], check=True, timeout=20)
        until((path / "exit.json").exists, 10, "the supervisor's verdict")
        machine = look(local, name)
        assert "stopped before its program was started" in machine.detail
        assert machine.exit_code is None
        assert not (path / "program.json").exists()


class TestSlots:
    def test_from_several_processes_at_once_no_slot_is_taken_twice(self, local: LocalHarness) -> None:
        names = [local.new_name() for _ in range(5)]
        creators = [
            subprocess.Popen(command(local, "create", name), cwd=ROOT, stdout=subprocess.PIPE, text=True)
            for name in names
        ]
        answers = [json.loads(creator.communicate(timeout=60)[0].splitlines()[-1])["state"] for creator in creators]
        assert answers.count("no capacity") == 3
        assert len(local.provider().inventory()) == 2
        assert local.provider().free_slots() == 0

    def test_slots_of_ended_runs_are_free(self, local: LocalHarness) -> None:
        for _ in range(3):
            gone(local, local.start("exit", "0"))
        assert local.provider().free_slots() == 2

    def test_a_lower_limit_lets_running_ones_go_on(self, local: LocalHarness) -> None:
        names = sorted([local.create(), local.create()])
        local.settings.STOKER_LOCAL_SLOTS = 1
        assert local.provider().free_slots() == 0
        assert [m.name for m in local.provider().inventory()] == names
        with pytest.raises(NoCapacity):
            local.create()

    def test_no_slots_at_all_switch_the_provider_off(self, local: LocalHarness) -> None:
        local.settings.STOKER_LOCAL_SLOTS = 0
        assert list(local.provider().offers()) == []
        with pytest.raises(Refused, match="STOKER_LOCAL_SLOTS"):
            local.create()


class TestSecrets:
    def test_the_token_is_in_no_command_line(self, local: LocalHarness) -> None:
        name = local.start("family")
        ready(local, name, "child")
        lines = [" ".join(process.cmdline()) for process in members(run_of(local, name))]
        assert len(lines) == 3
        assert not any(TOKEN in line for line in lines)

    def test_the_token_is_in_no_file(self, local: LocalHarness) -> None:
        name = local.start("obey")
        ready(local, name)
        files = [path for path in local.home.rglob("*") if path.is_file()]
        assert len(files) >= 5
        assert not any(TOKEN.encode() in path.read_bytes() for path in files)

    def test_only_the_owner_can_enter_the_directory(self, local: LocalHarness) -> None:
        name = local.start("obey")
        for path in (local.home / "runs", local.home / "runs" / name, run_of(local, name).work_dir):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700

    def test_the_environment_is_a_short_list(self, local: LocalHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "DJANGO_SETTINGS_MODULE"):
            monkeypatch.setenv(variable, "postgres://secret")
        monkeypatch.setenv("HF_HOME", "/models/hf")
        name = local.start("environment")
        seen = json.loads(ready(local, name, "environment"))
        assert "postgres://secret" not in seen.values()
        assert seen["JOB_TOKEN"] == TOKEN
        assert seen["JOB_ID"] == "job"
        assert seen["HF_HOME"] == "/models/hf"
        assert seen["OMP_WAIT_POLICY"] == "passive"
        assert seen["STOKER_WORK_DIR"] == str(run_of(local, name).work_dir)
        assert seen["STOKER_MODELS_DIR"] == str(local.home / "models")
        assert seen["PATH"]
        assert ready(local, name, "cwd") == str(run_of(local, name).work_dir)


class TestProgram:
    def test_the_real_archive_is_built_for_each_run(self, local: LocalHarness) -> None:
        """Without the variables it needs the training program ends with its own code for that."""
        local.settings.STOKER_LOCAL_COMMAND = None
        name = local.new_name()
        local.provider().create(local.request(name, environment={}))
        machine = gone(local, name)
        assert (run_of(local, name).path / "training.pyz").exists()
        assert machine.exit_code == 2, machine.output_tail

    def test_a_missing_trainer_is_said_in_the_offer_and_refused(self, local: LocalHarness) -> None:
        local.settings.STOKER_LOCAL_COMMAND = None
        local.settings.STOKER_TRAINER_PYTHON = "/nonexistent/bin/python"
        offer = local.provider().offers()[0]
        assert offer.available == 0
        assert "/nonexistent/bin/python" in offer.note
        with pytest.raises(Refused, match="not installed"):
            local.provider().create(local.request(local.new_name()))

    def test_the_price_is_that_of_the_settings(self, local: LocalHarness) -> None:
        assert local.provider().offers()[0].price_per_hour == PRICE
        assert look(local, local.create()).price_per_hour == PRICE

    def test_create_returns_at_once(self, local: LocalHarness) -> None:
        def seconds() -> float:
            local.settings.STOKER_LOCAL_COMMAND = program("exit", "0")
            name = local.new_name()
            started = time.monotonic()
            local.provider().create(local.request(name))
            took = time.monotonic() - started
            gone(local, name)
            return took

        assert min(seconds() for _ in range(5)) < 0.3
