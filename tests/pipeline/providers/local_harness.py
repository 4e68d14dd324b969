"""The `local` provider with tiny programs in place of the training program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import psutil

from pipeline.providers.base import CreateRequest, Machine, MachineRef, MachineState
from pipeline.providers.local import LocalProvider
from pipeline.providers.local.run import Run
from tests.pipeline.providers.harness import PRICE, Harness
from tests.waiting import until

PROGRAM = Path(__file__).with_name("program.py")


def program(*words: str) -> list[str]:
    return [sys.executable, "-S", str(PROGRAM), *words]


class LocalHarness(Harness):
    path = "pipeline.providers.local.LocalProvider"

    def django_settings(self) -> dict[str, Any]:
        return super().django_settings() | {
            "STOKER_LOCAL_SLOTS": 2,
            "STOKER_LOCAL_PRICE_PER_HOUR": str(PRICE),
            "STOKER_LOCAL_COMMAND": program("obey"),
            "STOKER_LOCAL_STOP_GRACE_SECONDS": 60,
            "STOKER_TRAINER_PYTHON": sys.executable,
            "STOKER_MODELS_DIR": str(self.home / "models"),
        }

    def provider(self) -> LocalProvider:
        return LocalProvider()

    def lasting(self, name: str) -> CreateRequest:
        self.settings.STOKER_LOCAL_COMMAND = program("obey")
        return self.request(name)

    def ending(self, name: str) -> CreateRequest:
        self.settings.STOKER_LOCAL_COMMAND = program("exit", "0")
        return self.request(name)

    def too_much(self) -> CreateRequest:
        for _ in range(self.settings.STOKER_LOCAL_SLOTS):
            self.create()
        return self.lasting(self.new_name())

    def cut_off(self) -> None:
        shutil.rmtree(self.home)

    def start(self, *words: str) -> str:
        """Create a run of the test program with these words."""
        name = self.new_name()
        self.settings.STOKER_LOCAL_COMMAND = program(*words)
        self.provider().create(self.request(name))
        return name


def run_of(local: LocalHarness, name: str) -> Run:
    return Run(local.home / "runs" / name)


def look(local: LocalHarness, name: str) -> Machine:
    return local.provider().observe([MachineRef(name)])[name]


def gone(local: LocalHarness, name: str) -> Machine:
    def ended() -> Machine | None:
        machine = look(local, name)
        return machine if machine.state is MachineState.GONE else None

    return until(ended, 15, "the run to be gone")


def ready(local: LocalHarness, name: str, file: str = "ready") -> str:
    """What the test program wrote when it had reached a point."""
    path = run_of(local, name).work_dir / file
    until(path.exists, 15, f"{file} of the program")
    return path.read_text()


def pid_in(local: LocalHarness, name: str, file: str) -> int:
    return int(json.loads((run_of(local, name).path / file).read_text())["pid"])


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_alive(pid), 10, f"process {pid} to die")
