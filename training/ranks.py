"""Several training processes on one machine: who leads, what the others wait for, how they learn of each other's end.

They share the work folder. Files named by the launch carry what the first process knows to the others, and back.
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.contract import DataLink, FailureReason, ResumePoint, RunSpec
from training.data import Prepared
from training.failures import RunError

POLL_SECONDS = 0.2


class Launch:
    """The files of one launch. `name` is new with each launch, so that nothing of an earlier one is read."""

    def __init__(self, work_dir: Path, name: str) -> None:
        self._folder = work_dir / "launch"
        self._name = name or "single"
        self._folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid_file(self) -> Path:
        return self._folder / f"{self._name}.pid"

    @property
    def outcome_file(self) -> Path:
        return self._folder / f"{self._name}.outcome.json"

    @property
    def ready_file(self) -> Path:
        return self._folder / f"{self._name}.ready.json"

    def write(self, path: Path, document: Any) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(document), "utf-8")
        os.replace(part, path)

    def say_ready(self, spec: RunSpec, values: dict[str, Any], data: Prepared, model_source: str) -> None:
        """Let the other processes begin. They need no links, so no signed link is written to disk."""
        document = {
            "spec": _without_links(spec).to_json(),
            "values": values,
            "data": data.to_json(),
            "model_source": model_source,
        }
        self.write(self.ready_file, document)

    def wait_until_ready(self) -> tuple[RunSpec, dict[str, Any], Prepared, str]:
        while not self.ready_file.is_file():
            time.sleep(POLL_SECONDS)
        document = json.loads(self.ready_file.read_text("utf-8"))
        data = Prepared.from_json(document["data"])
        return RunSpec.from_json(document["spec"]), document["values"], data, document["model_source"]

    def say_failed(self, rank: int, reason: FailureReason, message: str, stack: str) -> None:
        path = self._folder / f"{self._name}.failed.{rank}.json"
        self.write(path, {"rank": rank, "reason": reason, "message": message, "stack": stack})

    def failure_of_another(self) -> tuple[RunError, str] | None:
        """The first failure that another process wrote down, with its stack."""
        for path in sorted(self._folder.glob(f"{self._name}.failed.*.json")):
            document = json.loads(path.read_text("utf-8"))
            text = f"{document['message']} (training process {document['rank']})"
            return RunError(text, FailureReason(document["reason"])), document["stack"]
        return None

    def follow(self, end: Callable[[], None]) -> None:
        """Call `end` once the first process has ended: who waits in a collective operation would wait for ever."""

        def watch() -> None:
            while not self.outcome_file.is_file():
                time.sleep(POLL_SECONDS)
            time.sleep(2.0)  # time to end in the ordinary way
            end()

        threading.Thread(target=watch, name="follower", daemon=True).start()


def _without_links(spec: RunSpec) -> RunSpec:
    def cut(link: DataLink) -> DataLink:
        return dataclasses.replace(link, url="")

    resume: ResumePoint | None = dataclasses.replace(spec.resume, url="") if spec.resume else None
    validation = cut(spec.eval_dataset) if spec.eval_dataset else None
    return dataclasses.replace(spec, dataset=cut(spec.dataset), eval_dataset=validation, resume=resume)
