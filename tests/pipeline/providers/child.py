"""A provider in another operating system process: `python -m tests.pipeline.providers.child '<JSON>'`.

The child has only the settings it is given, so nothing but the outside world connects it with the test.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.pipeline.providers.harness import Harness

ROOT = Path(__file__).resolve().parents[3]
KILLED = -signal.SIGKILL


def command(harness: Harness, action: str, name: str, die_at: str = "") -> list[str]:
    """`die_at` is a function ("os.rename") at whose first call the child is killed by SIGKILL."""
    request = dataclasses.asdict(harness.lasting(name))
    task = {"settings": harness.django_settings(), "path": harness.path, "action": action}
    task |= {"account": harness.account(), "external_id": harness.ref(name).external_id}
    return [
        sys.executable,
        "-m",
        "tests.pipeline.providers.child",
        json.dumps(task | {"request": request, "die_at": die_at}),
    ]


def run_child(harness: Harness, action: str, name: str, *, die_at: str = "") -> dict[str, Any]:
    """The child's answer; its exit code alone when it was to die."""
    done = subprocess.run(
        command(harness, action, name, die_at), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if die_at:
        return {"exit_code": done.returncode}
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(task: dict[str, Any]) -> None:
    from django.conf import settings
    from django.utils.module_loading import import_string

    settings.configure(**task["settings"])
    from pipeline.providers.base import Account, CreateRequest, Machine, MachineRef, MachineState, NoCapacity
    from tests.waiting import until

    if task["die_at"]:
        _die_at(task["die_at"])
    provider = import_string(task["path"])(Account(**task["account"]) if task["account"] else None)
    request = CreateRequest(**task["request"])
    ref = MachineRef(request.name, task["external_id"])
    machine: Machine | None = None
    match task["action"]:
        case "create":
            try:
                machine = provider.create(request)
            except NoCapacity:
                print(json.dumps({"state": "no capacity"}))
                return
        case "create and stay":
            provider.create(request)
            print("created", flush=True)
            signal.pause()
        case "observe":
            machine = provider.observe([ref])[ref.name]
        case "stop":
            provider.stop(ref)
            machine = provider.observe([ref])[ref.name]
        case "end":

            def gone() -> bool:
                nonlocal machine
                provider.stop(ref)
                machine = provider.observe([ref]).get(ref.name)
                return machine is None or machine.state is MachineState.GONE

            until(gone, 15)
    if machine is None:
        print(json.dumps({"state": "missing"}))
        return
    created = machine.created_at.isoformat() if machine.created_at else None
    print(json.dumps({"state": machine.state, "created_at": created, "exit_code": machine.exit_code}))


def _die_at(where: str) -> None:
    module, *path, function = where.split(".")
    owner: Any = sys.modules[module]
    for name in path:
        owner = getattr(owner, name)

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, function, die)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
