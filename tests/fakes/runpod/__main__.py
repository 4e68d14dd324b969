"""`python -m tests.fakes.runpod --port 9001 --state runpod.json --pods DIR`: an imitated RunPod until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

from pipeline.config.content import trainer_python
from tests.fakes.runpod import KEY, Boot, FakeRunPod, Host

ROOT = Path(__file__).resolve().parents[3]
GRACE_SECONDS = 5.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.runpod", description="An imitated RunPod.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, help="a file in which pods and bills outlive this process")
    parser.add_argument("--pods", type=Path, help="a folder; then pods really run the program")
    parser.add_argument("--command", help="what a pod runs; default: the training program for pods")
    parser.add_argument("--speed", type=float, default=1.0, help="how fast its clock goes")
    parser.add_argument("--any-key", action="store_true", help="any key opens an account, unless it begins with wrong")
    parser.add_argument("--quick", action="store_true", help="pods boot at once")
    given = parser.parse_args(arguments)
    host = Host(_command(given.command), given.pods, _models()) if given.pods else None
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    boot = Boot(0, 0, 0) if given.quick else Boot()
    try:
        fake = FakeRunPod(
            speed=given.speed, boot=boot, host=host, state=given.state, port=given.port, any_key=given.any_key
        )
    except OSError as error:
        print(f"Port {given.port} on 127.0.0.1 cannot be used: {error.strerror}.", file=sys.stderr)
        return 2
    with fake:
        print(f"Imitated RunPod at {fake.url} (key: {KEY}); script it at {fake.origin}/_control/", flush=True)
        ended.wait()
        fake.close(grace=GRACE_SECONDS)
    return 0


def _command(given: str | None) -> list[str]:
    if given:
        return shlex.split(given)
    python = os.environ.get("STOKER_TRAINER_PYTHON") or trainer_python(_home(), ROOT)
    return [str(python), str(ROOT / "training" / "pod.py")]


def _models() -> Path:
    return Path(os.environ.get("STOKER_MODELS_DIR") or _home() / "models")


def _home() -> Path:
    return Path(os.environ.get("STOKER_HOME") or ROOT / ".stoker")


if __name__ == "__main__":
    sys.exit(main())
