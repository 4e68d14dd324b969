"""The `runpod` provider before an imitated RunPod on localhost, whose pods boot at once and run in words only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.providers.base import CreateRequest, Machine, MachineRef
from pipeline.providers.runpod import catalog
from tests.fakes.runpod import Boot, FakeRunPod, Pod
from tests.pipeline.providers.harness import Harness

KEY = "rpa_ACCOUNTKEYTHATMUSTNOTLEAK0123456789"
IMAGE = "registry.example/stoker-trainer@sha256:" + "0" * 64
GPU = "NVIDIA RTX A4000"


class RunPodHarness(Harness):
    path = "pipeline.providers.runpod.RunPodProvider"
    forgets = True

    def __init__(self, settings: Any, home: Path) -> None:
        # Booted two seconds before they were made, so that a second of uptime has not to be waited for.
        self.fake = FakeRunPod({KEY: 1000}, speed=1, boot=Boot(0, 0, -2)).__enter__()
        catalog.forget()
        super().__init__(settings, home)

    def django_settings(self) -> dict[str, Any]:
        return super().django_settings() | {
            "RUNPOD_API_URL": self.fake.url,
            "RUNPOD_GRAPHQL_URL": self.fake.graphql_url,
            "RUNPOD_IMAGE": IMAGE,
            "RUNPOD_DISK_GB": 40,
            "RUNPOD_MIN_CUDA_VERSION": "",
            "STOKER_PUBLIC_URL": "http://127.0.0.1:9",
        }

    def account(self) -> dict[str, Any]:
        return {"id": "account-1", "secret": KEY}

    def request(self, name: str, **values: Any) -> CreateRequest:
        return super().request(name, **({"gpu_type": GPU, "cloud": "SECURE"} | values))

    def lasting(self, name: str) -> CreateRequest:
        return self.request(name)

    def ending(self, name: str) -> CreateRequest:
        """What ends by itself orders its own end, and nothing is left of it."""
        self.fake.fault("vanish", name=name, seconds=0.2)
        return self.request(name)

    def too_much(self) -> CreateRequest:
        return self.request(self.new_name(), gpu_type="NVIDIA B200")

    def cut_off(self) -> None:
        self.fake.close()

    def close(self) -> None:
        super().close()
        self.fake.close()


def create(runpod: RunPodHarness, **values: Any) -> Machine:
    return runpod.provider().create(runpod.request(runpod.new_name(), **values))


def look(runpod: RunPodHarness, *refs: MachineRef) -> dict[str, Machine]:
    return dict(runpod.provider().observe(refs))


def ref(machine: Machine, **values: Any) -> MachineRef:
    return MachineRef(machine.name, machine.external_id, **values)


def pod_of(fake: FakeRunPod, name: str) -> Pod:
    (found,) = fake.pods(name)
    return found
