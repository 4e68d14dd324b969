"""Runs of the real program, in the trainer's own environment, against a real server on localhost."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.wire_server import JOB_ID, TOKEN, WireServer
from tests.training import tiny
from training import bundle

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tests/tiny"

# Twelve steps of a few tenths of a second: short beside the imports, and long enough to stop a run in its midst.
VALUES = {
    "learning_rate": 1e-2,
    "max_steps": 12,
    "logging_steps": 1,
    "save_steps": 5,
    "eval_steps": 6,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 3,
    "max_length": 128,
    "r": 4,
    "held_out_samples": 3,
    "sample_max_new_tokens": 16,
    "bf16": "false",
}


def trainer_python() -> Path:
    """The Python of the trainer's environment; fails rather than skips, because these tests are the product's core."""
    python = Path(os.environ.get("STOKER_TRAINER_PYTHON") or ROOT / ".stoker" / "trainer" / "bin" / "python")
    if not python.is_file():
        pytest.fail(f"The trainer's environment is missing ({python}). Run `make setup` once.")
    return python


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """A folder with the tiny model, kept between test runs until the file that makes it changes."""
    digest = hashlib.sha256(Path(tiny.__file__).read_bytes()).hexdigest()[:12]
    folder = ROOT / ".stoker" / "test-cache" / digest
    if not (folder / MODEL / "config.json").is_file():
        target = folder / "tests"
        done = subprocess.run(
            [str(trainer_python()), tiny.__file__, str(target)], capture_output=True, text=True, cwd=ROOT / ".stoker"
        )
        assert done.returncode == 0 or (folder / MODEL / "config.json").is_file(), done.stderr
    return folder


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[WireServer]:
    with WireServer(tmp_path) as server:
        yield server


class Program:
    """One start of the program. `wait` returns its exit code; its output is in `output` afterwards."""

    def __init__(self, wire: WireServer, work: Path, models_dir: Path, extra_env: dict[str, str]) -> None:
        self._log = (wire.root / f"output-{work.name}.txt").open("w+")
        archive = bundle.build(wire.root / "training.pyz")
        env = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        env |= {
            "JOB_ID": JOB_ID,
            "JOB_TOKEN": TOKEN,
            "METRICS_API_URL": wire.api_url,
            "STOKER_WORK_DIR": str(work),
            "STOKER_MODELS_DIR": str(models_dir),
            **extra_env,
        }
        self.process = subprocess.Popen(
            [str(trainer_python()), str(archive)], env=env, stdout=self._log, stderr=subprocess.STDOUT, cwd=wire.root
        )

    def wait(self, timeout: float = 240.0) -> int:
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"The program did not end within {timeout} s:\n{self.output[-3000:]}") from None
        return code

    @property
    def output(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text("utf-8")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


Start = Callable[..., Program]


def describe(wire: WireServer, rows: bytes | None = None, fmt: str = "messages", **changes: Any) -> None:
    """Give the server a spec. `values` adds to the usual hyperparameters, `limits` to the limits; others replace."""
    link = wire.add_file("rows.jsonl", tiny.jsonl(48) if rows is None else rows)
    limits = {"max_seconds": 600, "silence_seconds": 300, "heartbeat_seconds": 1, **changes.pop("limits", {})}
    wire.spec = {
        "version": 1,
        "job_id": JOB_ID,
        "attempt": 1,
        "name": "a test",
        "base_model": MODEL,
        "dataset": {**link, "format": fmt, "rows": 48},
        "hyperparameters": {**VALUES, **changes.pop("values", {})},
        "limits": limits,
        **changes,
    }


@pytest.fixture(scope="session")
def launch(models_dir: Path) -> Iterator[Start]:
    """Start the program: `launch(wire, work="work", **environment)`. All of them are gone at the end."""
    started: list[Program] = []

    def start(wire: WireServer, work: str = "work", **environment: str) -> Program:
        program = Program(wire, wire.root / work, models_dir, environment)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()
