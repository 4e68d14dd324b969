"""The client and its command against the running product: from a file to a finished job, and what others see of it."""

from __future__ import annotations

import csv
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stoker_client import Client, NotSignedIn, Refused

from pipeline.config.supervisor import Stack
from tests.client.conftest import Stoker
from tests.e2e.account import make_account
from tests.waiting import until

ROWS = "".join(f'{{"prompt": "Twice {n}?", "completion": "{2 * n}"}}\n' for n in range(1, 41))
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ON = ("--dataset", "Twice", "--model", MODEL, "--provider", "simulated")
CLIENT = Path(__file__).parents[2] / "client"


def token_of(stack: Stack, name: str) -> str:
    return str(make_account(stack, name).http.headers["Authorization"]).removeprefix("Bearer ")


@pytest.fixture(scope="module")
def carol_token(stack: Stack) -> str:
    return token_of(stack, "carol")


@pytest.fixture(scope="module")
def carol(stack: Stack, carol_token: str) -> Iterator[Client]:
    """Whose things these are."""
    with Client(stack.url, carol_token) as client:
        yield client


@pytest.fixture(scope="module")
def dave(stack: Stack) -> Iterator[Client]:
    """Somebody else."""
    with Client(stack.url, token_of(stack, "dave")) as client:
        yield client


@pytest.fixture(scope="module")
def twice(carol: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("rows") / "twice.jsonl"
    file.write_text(ROWS)
    dataset = carol.datasets.wait(carol.datasets.push(file, name="Twice").id, timeout=60, every=0.1)
    assert dataset.training_ready, dataset.error
    return dataset.id


@pytest.fixture
def signed_in(stoker: Stoker, stack: Stack, carol_token: str) -> Stoker:
    assert stoker("login", stack.url, "--token", carol_token).code == 0
    return stoker


def body(twice: str, **more: Any) -> dict[str, Any]:
    gpu = {"provider": "simulated", "type": more.pop("gpu", "sim-1000x")}
    return {"name": "from a program", "dataset": twice, "base_model": MODEL, "gpu_config": gpu} | more


def test_a_program_goes_from_a_file_to_a_finished_job(carol, twice, tmp_path):
    told = carol.estimate(**body(twice))
    assert told.confidence in ("none", "rough", "measured")
    job = carol.jobs.create(**body(twice, hyperparameters={"max_steps": 100, "logging_steps": 1}))
    assert job.status == "pending"
    assert carol.jobs.start(job.id).status == "queued"
    frames = list(carol.jobs.follow(job.id, every=0.1))
    assert frames[-1].job.status == "completed"
    assert [one.seq for one in frames] == sorted(one.seq for one in frames)
    steps = [step for frame in frames for step in frame.metrics["step"]]
    assert sorted(set(steps)) == list(range(1, 101))
    events = [event.seq for frame in frames for event in frame.events]
    assert events == [event.seq for event in carol.jobs.events(job.id)]
    logs = [(line.attempt, line.n) for frame in frames for line in frame.logs]
    assert logs == [(line.attempt, line.n) for line in carol.jobs.logs(job.id)]
    assert carol.jobs.wait(job.id, timeout=5).final_cost is not None
    series = carol.jobs.metrics(job.id, names="loss")
    assert set(series.curves) == {"loss"}
    with carol.jobs.metrics_file(job.id, tmp_path / "all.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(1, 101))
    assert job.id in {one.id for one in carol.jobs.list(status="completed", limit=5)}
    assert carol.spending(by="job")["rows"]
    assert {"simulated", "local"} <= {one["name"] for one in carol.providers()}
    assert carol.credentials() == []
    until(lambda: carol.notifications(unread=True), 10, "a notification")
    carol.mark_all_read()
    assert carol.notifications(unread=True) == []
    again = carol.jobs.retry(job.id)
    assert carol.jobs.cancel(again.id).status in ("cancelling", "cancelled", "completed")
    assert carol.jobs.wait(again.id, timeout=30, every=0.1).has_ended


@pytest.mark.scenario(35, "I1")
def test_many_programs_with_one_key_make_one_job(stack, carol_token, carol, twice):
    """Over HTTP, in requests side by side: as when a program gives up, and another one tries the same."""
    together = threading.Barrier(8)

    def create(_: int) -> str:
        with Client(stack.url, carol_token) as client:
            together.wait()
            return client.jobs.create(key="nightly-run", **body(twice, name="nightly")).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(8)))) == 1
    assert len(carol.jobs.list(search="nightly")) == 1
    with pytest.raises(Refused) as caught:
        carol.jobs.create(key="nightly-run", **body(twice, name="other"))
    assert caught.value.status == 422


def test_somebody_else_sees_nothing_and_nobody_gets_in(stack, carol, dave, twice):
    job = carol.jobs.create(**body(twice, name="private"))
    assert dave.jobs.list() == []
    assert dave.datasets.list() == []
    for ask in (dave.jobs.get, dave.jobs.cancel, dave.jobs.start, dave.jobs.artifacts, dave.jobs.metrics):
        with pytest.raises(Refused) as caught:
            ask(job.id)
        assert caught.value.status == 404
    with pytest.raises(Refused) as caught:
        dave.jobs.create(**body(twice))
    assert [one.field for one in caught.value.fields] == ["dataset"]
    with Client(stack.url, "stk_u_nobodys") as nobody, pytest.raises(NotSignedIn, match="not known"):
        nobody.jobs.list()


def test_the_command_goes_from_a_file_to_the_end(signed_in, tmp_path):
    file = tmp_path / "by hand.jsonl"
    file.write_text(ROWS)
    said = signed_in("datasets", "push", str(file), "--wait", "--json")
    assert (said.code, said.json["name"], said.json["training_ready"]) == (0, "by hand", True)
    (tmp_path / "bad.jsonl").write_text("not JSON\n")
    assert signed_in("datasets", "push", str(tmp_path / "bad.jsonl"), "--wait").code == 1
    assert "by hand" in signed_in("datasets", "list").out

    on = ("--dataset", "by hand", "--model", MODEL, "--provider", "simulated")
    tried = signed_in("jobs", "create", "--name", "typed", *on, "--budget", "5", "--start", "--dry-run")
    assert tried.code == 0, tried.err
    assert tried.out.endswith("It would start at once.\nNothing was made.\n")
    assert "on “by hand” (40 rows)" in tried.out
    assert "typed" not in signed_in("jobs", "list").out

    watched = signed_in(
        "jobs", "create", "--name", "typed", *on, "--gpu", "sim-1000x", "--set", "max_steps=50", "--watch"
    )
    assert watched.code == 0, watched.err
    assert "Training has started." in watched.out
    assert "step 50/50" in watched.out
    assert "Completed. The simulation is over." in watched.out

    assert signed_in("jobs", "wait", "typed").code == 0
    row = next(line for line in signed_in("jobs", "list").out.splitlines() if " typed " in line)
    assert "Completed" in row
    assert "100 %" in row
    shown = signed_in("jobs", "show", "typed").out
    assert "The simulation is over." in shown
    assert "step 50 of 50" in shown
    assert signed_in("jobs", "show", "typed", "--json").json["status"] == "completed"
    assert "⠀" in signed_in("jobs", "metrics", "typed").out
    logs = signed_in("jobs", "logs", "typed").out.splitlines()
    assert "Step 50 of 50" in logs[-1]
    assert signed_in("jobs", "logs", "typed", "--tail", "1").out.splitlines() == logs[-1:]
    assert signed_in("jobs", "logs", "typed", "-f").out.splitlines() == logs[-20:]
    assert "Queued." in signed_in("jobs", "events", "typed").out
    assert signed_in("jobs", "artifacts", "typed", "--json").json == []
    assert "no stored file" in signed_in("jobs", "download", "typed").err
    assert "Total" in signed_in("costs", "--by", "provider").out
    assert "sim-1000x" in signed_in("providers", "--gpu", "1000").out
    assert "balanced" in signed_in("presets").out
    assert "completed" in signed_in("notifications").out


def test_how_jobs_end_is_the_exit_code(signed_in, twice):
    assert (
        signed_in(
            "jobs", "create", "--name", "fails", *ON, "--gpu", "sim-fails", "--set", "max_steps=20", "--start"
        ).code
        == 0
    )
    assert (
        signed_in(
            "jobs", "create", "--name", "slow", *ON, "--gpu", "sim-realtime", "--set", "max_steps=5000", "--start"
        ).code
        == 0
    )
    late = signed_in("jobs", "wait", "slow", "--timeout", "0.2s")
    assert (late.code, late.err) == (3, "“slow” has not ended within 0 s. It goes on.\n")
    assert signed_in("jobs", "cancel", "slow", "--wait").out.endswith("is cancelled.\n")
    assert signed_in("jobs", "wait", "slow").code == 2
    assert signed_in("jobs", "wait", "fails", "slow").code == 1
    assert signed_in("jobs", "watch", "fails").code == 1


def test_ctrl_c_ends_the_watching_and_not_the_job(carol, stack, carol_token, twice):
    """In a terminal of its own, as a person sees it."""
    job = carol.jobs.create(
        **body(twice, name="watched", gpu="sim-60x", hyperparameters={"max_steps": 60_000}, start=True)
    )
    code = "from stoker_client.cli import main; main()"
    terminal, inside = pty.openpty()
    environment = os.environ | {"STOKER_URL": stack.url, "STOKER_TOKEN": carol_token, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "jobs", "watch", job.id], cwd=CLIENT, env=environment,
        stdin=inside, stdout=inside, stderr=inside, start_new_session=True,
    )  # fmt: skip
    os.close(inside)
    seen = b""
    try:
        deadline = time.monotonic() + 60
        while "⠀".encode() not in seen:  # the curve
            assert time.monotonic() < deadline, seen.decode(errors="replace")
            seen += read(terminal)
        process.send_signal(signal.SIGINT)
        while chunk := read(terminal, 20):
            seen += chunk
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(terminal)
    text = seen.decode(errors="replace")
    assert "watched" in text
    assert "The job goes on." in text
    assert "Traceback" not in text
    assert not carol.jobs.get(job.id).has_ended
    carol.jobs.cancel(job.id)
    assert carol.jobs.wait(job.id, timeout=30, every=0.1).status == "cancelled"


def read(terminal: int, seconds: float = 1.0) -> bytes:
    """What is there; nothing when nothing comes for so long, or the other side is gone."""
    if not select.select([terminal], [], [], seconds)[0]:
        return b""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
