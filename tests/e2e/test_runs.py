"""Real fine-tunes of a tiny model, through every process there is."""

from __future__ import annotations

import hashlib
import io
import signal
import zipfile
from typing import Any

import psutil
import pytest
import redis

from pipeline.config.supervisor import Stack
from tests.e2e.conftest import Account
from tests.waiting import until

pytestmark = pytest.mark.timeout(400)


def steps_of(account: Account, job_id: str) -> list[int]:
    series = account.call("GET", f"/api/jobs/{job_id}/metrics/?points=5000&names=loss", 200)["series"]
    return list(series["loss"]["step"])


def trainers(stack: Stack) -> list[psutil.Process]:
    """Every process that trains for this product."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any("training.pyz" in word and str(stack.home) in word for word in words):
            found.append(process)
    return found


def test_a_fine_tune_from_upload_to_adapter(ada: Account, colours: dict[str, Any], stack: Stack) -> None:
    job_id = ada.start(colours)
    job = ada.wait_ended(job_id)
    assert job["status"] == "completed", job["error_message"]
    assert steps_of(ada, job_id) == list(range(1, 21))
    assert (job["current_step"], job["total_steps"], job["progress"]) == (20, 20, 100)

    samples = ada.call("GET", f"/api/jobs/{job_id}/samples/", 200)
    samples = samples["results"] if isinstance(samples, dict) else samples
    assert len(samples) == 2
    assert all(sample["before"] is not None and sample["after"] is not None for sample in samples)

    files = ada.call("GET", f"/api/jobs/{job_id}/artifacts/", 200)
    files = files["results"] if isinstance(files, dict) else files
    adapter = next(file for file in files if file["kind"] == "adapter")
    assert adapter["id"] == job["artifact_id"]
    content = ada.call("GET", f"/api/artifacts/{adapter['id']}/download/", 200).content
    assert hashlib.sha256(content).hexdigest() == adapter["sha256"]
    names = {name.rsplit("/", 1)[-1] for name in zipfile.ZipFile(io.BytesIO(content)).namelist()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= names
    assert "training_args.bin" not in names
    until(lambda: not trainers(stack), 30, "the end of every training process")


def test_every_process_killed_and_redis_flushed_loses_nothing(
    ada: Account, colours: dict[str, Any], stack: Stack
) -> None:
    steps = 400
    job_id = ada.start(colours, hyperparameters={"max_steps": steps, "save_steps": 200, "eval_steps": 200})
    ada.wait(job_id, lambda job: job["current_step"] >= 3)
    for name in list(stack.children):
        before, starts = ada.job(job_id)["current_step"], stack.starts(name)
        stack.kill(name, signal.SIGKILL)
        until(lambda n=name, s=starts: stack.starts(n) > s and stack.pid(n), 60, f"{name} to be started again")
        ada.patiently("/readyz")
        assert ada.patiently(f"/api/jobs/{job_id}/")["current_step"] >= before
    flush(stack)
    job = ada.wait_ended(job_id, timeout=240)
    assert (job["status"], job["attempt"]) == ("completed", 1), job["error_message"]
    assert steps_of(ada, job_id) == list(range(1, steps + 1))
    frame = ada.call("GET", f"/api/jobs/{job_id}/live/?after=0", 200)
    lines = [(line["attempt"], line["n"]) for line in frame["logs"]]
    assert len(lines) == len(set(lines))


def test_cancel_ends_the_whole_group_and_keeps_a_checkpoint(
    ada: Account, colours: dict[str, Any], stack: Stack
) -> None:
    job_id = ada.start(colours, hyperparameters={"max_steps": 100_000, "save_steps": 50_000, "eval_steps": 50_000})
    ada.wait(job_id, lambda job: job["current_step"] >= 2)
    assert trainers(stack)
    first = ada.call("POST", f"/api/jobs/{job_id}/cancel/")
    assert first["status"] == "cancelling"
    ada.call("POST", f"/api/jobs/{job_id}/cancel/")
    job = ada.wait_ended(job_id, timeout=100)
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")
    assert not trainers(stack), "cancelled is said when nothing runs any more"
    files = ada.call("GET", f"/api/jobs/{job_id}/artifacts/", 200)
    files = files["results"] if isinstance(files, dict) else files
    assert [file["kind"] for file in files if file["state"] == "stored"] == ["checkpoint"]


def test_a_training_program_that_is_killed_is_noticed_and_named(
    ada: Account, colours: dict[str, Any], stack: Stack
) -> None:
    job_id = ada.start(
        colours,
        retry_policy={"max_attempts": 1},
        hyperparameters={"max_steps": 100_000, "save_steps": 50_000, "eval_steps": 50_000},
    )
    ada.wait(job_id, lambda job: job["current_step"] >= 2)
    for process in trainers(stack):
        process.kill()
    job = ada.wait_ended(job_id, timeout=100)
    assert (job["status"], job["reason"]) == ("failed", "vanished")
    assert job["reason_text"]


def test_a_stranger_sees_nothing_of_it(ada: Account, bob: Account, colours: dict[str, Any]) -> None:
    job_id = ada.start(colours, gpu_config={"provider": "simulated"}, start=False)
    for path in (f"/api/jobs/{job_id}/", f"/api/jobs/{job_id}/live/", f"/api/datasets/{colours['id']}/"):
        bob.call("GET", path, 404)
    bob.call("POST", f"/api/jobs/{job_id}/cancel/", 404)
    assert bob.call("GET", "/api/jobs/", 200)["results"] == []


def flush(stack: Stack) -> None:
    client = redis.Redis(unix_socket_path=str(stack.home / "valkey" / "valkey.sock"))
    client.flushall()
    client.close()
