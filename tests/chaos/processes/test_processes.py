"""The whole product with real processes, while they are killed, frozen, emptied and restarted in random order.

Nobody helps: at the end every job must have come to its end, every machine be gone, every acknowledged point be stored
once, and the ledger agree with the provider's bill.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import requests

from pipeline.config.supervisor import ROOT, Stack
from tests.chaos.conftest import SEED, Counts
from tests.conftest import FOLDER, OUTSIDE, free_port
from tests.e2e.account import TERMINAL, Account, make_account
from tests.training import tiny
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(840),
    pytest.mark.skipif(not os.environ.get("STOKER_CHAOS"), reason="Takes minutes: make chaos."),
]
CANARY = "rpa_CANARYKEYTHATMUSTNOTBESEENANYWHERE42"
JOBS = 20
CHAOS_SECONDS = 150.0
CONVERGE_SECONDS = 360.0
GPU, PRICE = "NVIDIA RTX A4000", 0.25
TICK_SECONDS = 120.0  # of price: a look each 15 s, two of them for a machine that is missing, and what chaos delays


class Provider:
    """The imitated RunPod, as a process that can be away."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        pod = shlex.join([sys.executable, str(Path(__file__).with_name("pod.py"))])
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fakes.runpod", "--port", str(self.port), "--any-key", "--quick"]
        command += ["--state", str(self.folder / "state.json"), "--pods", str(self.folder / "pods"), "--command", pod]
        self.process = subprocess.Popen(command, cwd=ROOT, env=OUTSIDE, stdout=subprocess.DEVNULL)
        until(self._answers, 30, "the imitated provider")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def state(self) -> dict[str, Any]:
        return dict(requests.get(f"{self.origin}/_control/state", timeout=10).json())

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        try:
            return bool(self.state())
        except requests.RequestException:
            return False


class Onlooker(threading.Thread):
    """A person who looks at the list of jobs all the time, and writes down every 5xx there was no excuse for."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(daemon=True)
        self.url, self.http = url, requests.Session()
        self.http.headers["Authorization"] = token
        self.database_down = threading.Event()
        self.faults: list[str] = []
        self.answers = 0
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.3):
            excused = self.database_down.is_set()
            try:
                answer = self.http.get(f"{self.url}/api/jobs/", timeout=20)
            except requests.RequestException:
                continue  # web is being started again
            self.answers += 1
            excused = excused or self.database_down.is_set()
            if answer.status_code >= 500 and not (excused and answer.status_code == 503):
                self.faults.append(f"{answer.status_code} {answer.text[:200]}")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    running = Provider(FOLDER / "chaos-provider")
    running.start()
    yield running
    if running.process is not None:
        running.process.terminate()
        running.process.wait(20)


@pytest.fixture(scope="module")
def product(provider: Provider) -> Iterator[Stack]:
    environment = {
        **OUTSIDE,
        "RUNPOD_API_URL": f"{provider.origin}/v2",
        "RUNPOD_GRAPHQL_URL": f"{provider.origin}/graphql",
        "RUNPOD_IMAGE": "registry.example/stoker-trainer@sha256:" + "0" * 64,
        "STOKER_SUBMITS_PER_CYCLE": "10",
    }
    with Stack(FOLDER / "chaos-product", port=free_port(), environment=environment) as running:
        running.wait_ready(180)
        yield running


class Chaos:
    def __init__(self, product: Stack, provider: Provider, onlooker: Onlooker, seed: int) -> None:
        self.product, self.provider, self.onlooker = product, provider, onlooker
        self.chance = random.Random(seed)
        self.done: list[str] = []

    def run(self, seconds: float) -> None:
        once: list[Callable[[], None]] = [
            self.redis_killed, self.redis_frozen, self.redis_flushed, self.database_stopped, self.provider_away,
            self.rolling_restart, self.redis_flushed, self.database_stopped, self.a_process_frozen,
        ]  # fmt: skip
        self.chance.shuffle(once)
        end, spacing = time.monotonic() + seconds, seconds / (len(once) + 1)
        next_big = time.monotonic() + spacing
        while time.monotonic() < end:
            if once and time.monotonic() >= next_big:
                once.pop()()
                next_big += spacing
            else:
                self.one_killed()
            time.sleep(self.chance.uniform(2, 5))
        for rest in once:
            rest()

    def one_killed(self) -> None:
        name = self.chance.choice(["web", "worker", "beat", "reconcile"])
        self._note(f"kill -9 {name}")
        self.product.kill(name)

    def a_process_frozen(self) -> None:
        """Longer than a lease; what it wanted to write when it goes on must hit no row."""
        name = self.chance.choice(["worker", "reconcile"])
        self._note(f"{name} frozen for 65 s")
        pid = until(lambda: self.product.pid(name), 30)
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        _signal(family, signal.SIGSTOP)
        time.sleep(65)
        _signal(family, signal.SIGCONT)

    def redis_killed(self) -> None:
        self._note("Redis killed")
        if process := self.product.services[1].process():
            process.kill()

    def redis_frozen(self) -> None:
        self._note("Redis frozen for 10 s")
        if process := self.product.services[1].process():
            process.suspend()
            time.sleep(10)
            _signal([process], signal.SIGCONT)

    def redis_flushed(self) -> None:
        self._note("FLUSHALL")
        client = redis.Redis(unix_socket_path=str(self.product.services[1].socket), socket_timeout=5)  # type: ignore[attr-defined]
        try:
            client.flushall()
        except redis.RedisError:
            pass  # it is being started again: then it is empty anyhow
        finally:
            client.close()

    def database_stopped(self) -> None:
        self._note("PostgreSQL stopped at once, and started again")
        self.onlooker.database_down.set()
        if process := self.product.services[0].process():
            process.send_signal(signal.SIGQUIT)  # as pg_ctl stop -m immediate does
        until(lambda: self.product.services[0].process() is None, 20)
        until(self._database_answers, 60, "PostgreSQL to be started again")
        self.onlooker.database_down.clear()

    def provider_away(self) -> None:
        self._note("the provider away for 20 s")
        self.provider.kill()
        time.sleep(20)
        self.provider.start()

    def rolling_restart(self) -> None:
        self._note("rolling restart")
        for name in ("web", "reconcile", "worker", "beat"):
            starts, asked = self.product.starts(name), time.monotonic()
            self.product.kill(name, signal.SIGTERM)
            while self.product.starts(name) == starts:
                time.sleep(0.1)
                if time.monotonic() - asked > 75:  # the grace that a deployment gives
                    self.product.kill(name)
                    asked = time.monotonic()

    def _database_answers(self) -> bool:
        try:
            return requests.get(f"{self.product.url}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def _note(self, what: str) -> None:
        self.done.append(what)
        print(f"  chaos: {what}", flush=True)


@pytest.mark.scenario("6 9-11 13 47", "I1 I2 I3 I4 I5 I6 I7 I8 I9 I10")
def test_twenty_jobs_survive_everything_that_is_done_to_the_processes(
    product: Stack, provider: Provider, counts: Counts
) -> None:
    ada = make_account(product, "ada")
    ada.call("PUT", "/api/credentials/runpod/", json={"secret": CANARY})
    dataset = ada.upload(tiny.jsonl())
    _tiny_model(product)
    onlooker = Onlooker(product.url, str(ada.http.headers["Authorization"]))
    onlooker.start()
    rented = [_start(ada, dataset, number) for number in range(JOBS)]
    trained = [ada.start(dataset, hyperparameters={"max_steps": 60}) for _ in range(2)]
    chaos = Chaos(product, provider, onlooker, SEED)
    chaos.run(CHAOS_SECONDS)
    for job_id in rented[:3]:
        _patiently(ada, "POST", f"/api/jobs/{job_id}/cancel/")
    began = time.monotonic()
    jobs = until(lambda: _all_ended(ada, rented + trained), CONVERGE_SECONDS, "the end of every job")
    converged = time.monotonic() - began
    until(lambda: not _living(provider), 180, "the end of every machine")
    onlooker.done.set()
    onlooker.join()

    found = _audit(product)
    state = provider.state()
    doubles, drift, overspend = _money(state, found)
    secrets = found["secrets"] + _files_with(CANARY, product.home / "logs", provider.folder) + _redis_with(product)
    counts.add(
        jobs=len(jobs), faults=len(chaos.done), leaks=len(_living(provider)), doubles=doubles, lost=found["lost"],
        doubled=found["doubled"], overspend=overspend,
    )  # fmt: skip
    counts.say(f"converged {converged:.0f} s after the last fault; {onlooker.answers} requests meanwhile")
    assert found["problems"] == []
    assert (found["unfinished"], found["open_attempts"], found["without_evidence"]) == (0, 0, 0)
    assert (doubles, found["lost"], found["doubled"], overspend) == (0, 0, 0, 0), found
    assert drift == [], "the ledger and the bill"
    assert (found["sealed"], secrets) == (1, 0), "the key of the account was seen"
    assert onlooker.faults == []
    assert {job["status"] for job in jobs} <= {"completed", "cancelled"}, found["endings"]


def _start(ada: Account, dataset: dict[str, Any], number: int) -> str:
    gpu = {"provider": "runpod", "type": GPU, "cloud": "SECURE"}
    return ada.start(
        dataset, name=f"rented {number}", gpu_config=gpu, retry_policy={"max_attempts": 8}, budget_limit=0.5
    )


def _patiently(ada: Account, method: str, path: str) -> None:
    """Repeat a request until the product takes it; 409 says that there is nothing to do any more."""

    def ask() -> bool:
        try:
            answer = ada.http.request(method, ada.stack.url + path, timeout=10)
        except requests.RequestException:
            return False
        return answer.status_code < 500

    until(ask, 60, path)


def _all_ended(ada: Account, ids: list[str]) -> list[dict[str, Any]] | None:
    jobs = [ada.patiently(f"/api/jobs/{job_id}/") for job_id in ids]
    time.sleep(1)
    return jobs if all(job["status"] in TERMINAL for job in jobs) else None


def _living(provider: Provider) -> list[dict[str, Any]]:
    return [pod for pod in provider.state()["pods"] if pod["endedAt"] is None]


def _audit(product: Stack) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.chaos.processes.audit", CANARY]
    done = subprocess.run(command, cwd=ROOT, env=product.environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _money(state: dict[str, Any], found: dict[str, Any]) -> tuple[int, list[str], int]:
    """Jobs with two machines at once for more than two minutes, those whose ledger is off, and those over budget."""
    doubles, drift, overspend = 0, [], 0
    for key, (metered, budget) in found["costs"].items():
        pods = sorted((pod for pod in state["pods"] if key in pod["name"]), key=lambda pod: pod["createdAt"])
        for one, other in itertools.pairwise(pods):
            doubles += _seconds(one["endedAt"]) - _seconds(other["createdAt"]) > 120
        billed = sum(float(pod["bill"]) for pod in pods)
        tick = PRICE / 3600 * TICK_SECONDS * max(1, len(pods))
        if abs(billed - metered) > tick:
            drift.append(f"{key}: metered {metered:.6f}, billed {billed:.6f} for {len(pods)} pods")
        overspend += bool(budget) and billed > budget + tick
    return doubles, drift, overspend


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _files_with(secret: str, *folders: Path) -> int:
    return sum(
        secret.encode() in file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file()
    )


def _redis_with(product: Stack) -> int:
    client = redis.Redis(unix_socket_path=str(product.services[1].socket))  # type: ignore[attr-defined]
    try:
        return sum(CANARY.encode() in (client.dump(key) or b"") for key in client.scan_iter())
    finally:
        client.close()


def _tiny_model(product: Stack) -> None:
    from tests.e2e.conftest import trainer_python

    command = [str(trainer_python()), str(Path(tiny.__file__)), str(product.home / "models" / "test")]
    subprocess.run(command, check=True, capture_output=True, timeout=180)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
