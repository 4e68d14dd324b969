"""What an imitated pod runs under chaos: the real start of a rented machine, with a light program in place of torch.

Run as a file: `python pod.py` is the pod, `python pod.py --program` the program that it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

if not __package__:  # started as a file: the folder of the repository is the one to import from
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from training import artifacts, environment
from training.client import Client, Kind, backoff
from training.contract import ENV_JOB_TOKEN, Finish, Outcome, Stage
from training.environment import Environment
from training.failures import StopRequested
from training.pod import ENV_POD_KEY, Grant, Pod
from training.redact import Redactor
from training.reporter import Reporter
from training.stopping import StopSignal

STEPS = 200
STEP_SECONDS = 0.3
PATIENCE = 300.0


class LightPod(Pod):
    """Exchanges its token, starts the program once and asks for its end, as every rented machine does."""

    def _fetch(self, grant: Grant, target: Path) -> Path:
        return target

    def _run_program(self, program: Path, env: Environment, grant: Grant) -> int:
        kept = {name: value for name, value in self._variables.items() if name != ENV_POD_KEY}
        command = [sys.executable, __file__, "--program"]
        self._program = subprocess.Popen(command, env=kept | {ENV_JOB_TOKEN: grant.token}, start_new_session=True)
        if self._told_to_end:
            self._pass_on(signal.SIGTERM)
        code = self._program.wait()
        self._kill()
        return code


def program() -> int:
    """Two hundred steps, an adapter of a few bytes, and the last word."""
    env = environment.read()
    client, stop = Client(env.api_url, env.job_id, env.token), StopSignal()
    signal.signal(signal.SIGTERM, lambda *_: stop.ask_by_signal())
    waits = backoff()
    while (answer := client.get("spec")).kind is not Kind.OK:
        if answer.kind is not Kind.LATER or stop.is_set:
            return 77
        time.sleep(next(waits))
    reporter = Reporter(client, env.work_dir / "spool.jsonl", stop, Redactor([env.token]), heartbeat_seconds=3600)
    reporter.start()
    for step in range(1, STEPS + 1):
        # Nothing but metrics is numbered, so the number of a line is its step.
        reporter.metric(step, {"loss": 2.0 / step})
        time.sleep(STEP_SECONDS)
        if stop.is_set:
            return _say(reporter, Outcome.STOPPED, {})
    folder = env.work_dir / "adapter"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "job": env.job_id}))
    archive = artifacts.pack(folder, env.work_dir / "adapter.zip")
    with contextlib.suppress(StopRequested):
        artifact = artifacts.upload(client, "adapter", archive, STEPS, lambda: stop.is_set, print)
        return _say(reporter, Outcome.COMPLETED, {"artifact_id": artifact, "step": STEPS})
    return _say(reporter, Outcome.STOPPED, {})


def _say(reporter: Reporter, outcome: Outcome, extra: dict[str, object]) -> int:
    answer = reporter.finish(Finish(outcome, reporter.last_n, extra=extra), PATIENCE)
    print(f"{outcome}, {Stage.UPLOADING}: {answer.said}", flush=True)
    return 0 if outcome is Outcome.COMPLETED else 75


if __name__ == "__main__":
    sys.exit(program() if "--program" in sys.argv else LightPod(dict(os.environ)).run())
