"""The `cluster` provider at an imitated cluster that makes one job of repeated submissions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.providers.base import Account, CreateRequest, MachineRef
from pipeline.providers.cluster import ClusterProvider
from tests.fakes.cluster import KEY, FakeCluster
from tests.pipeline.providers.harness import Harness


class ClusterHarness(Harness):
    path = "pipeline.providers.cluster.ClusterProvider"

    def __init__(self, settings: Any, home: Path) -> None:
        self.fake = FakeCluster()
        self.fake.__enter__()
        super().__init__(settings, home)

    def django_settings(self) -> dict[str, Any]:
        return super().django_settings() | {"STOKER_PRIVATE_URLS": [self.fake.url], "GPU_CLUSTER_API_URL": ""}

    def account(self) -> dict[str, Any]:
        options = {"idempotent": self.fake.idempotent, "gpu_types": "A100:2.50, H100:4.00:80"}
        return {"id": "account", "secret": KEY, "base_url": self.fake.url, "options": options}

    def provider(self) -> ClusterProvider:
        return ClusterProvider(Account(**self.account()))

    def ref(self, name: str) -> MachineRef:
        jobs = self.fake.named(name)
        return MachineRef(name, jobs[0]["id"] if jobs else "no-such-job")

    def existing(self) -> list[str]:
        return self.fake.alive()

    def request(self, name: str, **values: Any) -> CreateRequest:
        common = {
            "gpu_type": "A100",
            "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "hyperparameters": {"max_steps": 100_000, "learning_rate": 0.0002},
            "dataset_url": "https://example.org/data.jsonl?signature=abc",
            "callback_url": "https://example.org/callback",
        }
        return super().request(name, **(common | values))

    def lasting(self, name: str) -> CreateRequest:
        return self.request(name)

    def ending(self, name: str) -> CreateRequest:
        return self.request(name, hyperparameters={"max_steps": 20})

    def too_much(self) -> CreateRequest:
        self.fake.fault("submit", "error", code=429, detail="The queue is full", retry_after=7)
        return self.request(self.new_name())

    def cut_off(self) -> None:
        self.fake.close()

    def close(self) -> None:
        super().close()
        self.fake.close()
