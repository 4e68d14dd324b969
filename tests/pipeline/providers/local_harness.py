"""The `local` provider with tiny programs in place of the training program."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from pipeline.providers.base import CreateRequest
from pipeline.providers.local import LocalProvider
from tests.pipeline.providers.harness import PRICE, Harness

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
