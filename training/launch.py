"""Starts one training process per GPU with torchrun, and speaks for them to whoever started the program."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from training import bundle
from training.contract import ExitCode
from training.environment import ENV_LAUNCH, ENV_PROCESSES, Environment
from training.failures import SetupError
from training.ranks import Launch


def processes() -> int:
    """How many training processes this machine wants: one per visible GPU, unless the variable says otherwise."""
    wanted = os.environ.get(ENV_PROCESSES, "").strip()
    if wanted:
        if not wanted.isdigit() or not 1 <= int(wanted) <= 64:
            raise SetupError(f"{ENV_PROCESSES} must be a number from 1 to 64, not {wanted!r}.")
        return int(wanted)
    if not Path("/dev/nvidia0").exists() and not Path("/dev/kfd").exists():
        return 1  # saves the seconds that loading torch takes
    torch = importlib.import_module("torch")
    return max(1, int(torch.cuda.device_count()))


def run(env: Environment, count: int) -> int:
    """Run `count` processes and return the exit code of the first. torchrun itself exits with 1 after any signal."""
    launch = Launch(env.work_dir, uuid.uuid4().hex[:12])
    program = _archive() or bundle.build(env.work_dir / "training.pyz")
    child_env = {**os.environ, ENV_LAUNCH: launch.outcome_file.name.split(".")[0]}
    child_env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}", str(program)]
    with subprocess.Popen(command, env=child_env, cwd=env.work_dir) as torchrun:

        def pass_on(signum: int, frame: object) -> None:
            # Only to the first process: torchrun would kill all of them after its own, short time.
            try:
                os.kill(int(launch.pid_file.read_text()), signal.SIGTERM)
            except (OSError, ValueError):
                torchrun.terminate()

        signal.signal(signal.SIGTERM, pass_on)
        signal.signal(signal.SIGINT, pass_on)
        code = torchrun.wait()
    try:
        return int(json.loads(launch.outcome_file.read_text("utf-8"))["exit_code"])
    except (OSError, ValueError, KeyError):
        return code if code > 0 else ExitCode.TRAINING_ERROR


def _archive() -> Path | None:
    """The zip file that this program runs from, if it does."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    return Path(archive).resolve() if archive else None
