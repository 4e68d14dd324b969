"""The `simulated` provider: slow machines last, fast ones end."""

from __future__ import annotations

import shutil
from typing import Any

from pipeline.providers.base import CreateRequest
from pipeline.providers.simulated import SimulatedProvider
from tests.pipeline.providers.harness import Harness


class SimulatedHarness(Harness):
    path = "pipeline.providers.simulated.SimulatedProvider"

    def provider(self) -> SimulatedProvider:
        return SimulatedProvider()

    def request(self, name: str, **values: Any) -> CreateRequest:
        common = {
            "gpu_type": "sim-60x",
            "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "hyperparameters": {"max_steps": 100_000, "logging_steps": 5, "eval_steps": 50},
            "dataset_rows": 2_000,
        }
        return super().request(name, **(common | values))

    def lasting(self, name: str) -> CreateRequest:
        return self.request(name)

    def ending(self, name: str) -> CreateRequest:
        return self.request(name, gpu_type="sim-1000x", hyperparameters={"max_steps": 400})

    def too_much(self) -> CreateRequest:
        return self.request(self.new_name(), gpu_type="sim-sold-out")

    def cut_off(self) -> None:
        shutil.rmtree(self.home)
