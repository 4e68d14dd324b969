"""What a rented machine runs: real processes between an imitated server, an imitated RunPod and a tiny program."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from training import pod

PROGRAM = Path(pod.__file__)
JOB = "11111111-2222-3333-4444-555555555555"
FIRST_TOKEN, RUN_TOKEN, POD_KEY = "stk_b_firsttokenfirsttoken", "stk_j_runtokenruntoken", "rpa_PODKEYPODKEYPODKEY"
TELLS = "import json, os, pathlib; pathlib.Path('environment').write_text(json.dumps(dict(os.environ)))"
OBEYS = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path("ready").touch()
signal.sigwait([signal.SIGTERM])
pathlib.Path("checkpoint").touch()
sys.exit(75)
"""
IGNORES = "import pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"


class Outside:
    """The server and RunPod, as far as the machine can tell; tests change what they answer."""

    def __init__(self) -> None:
        self.program = TELLS.encode()
        self.sha256 = ""  # empty: the right one
        self.seconds: Any = 600
        self.statuses: list[int] = []  # answers to the next exchanges; 0 cuts the connection; then 200
        self.deletes: list[int] = []  # the same for orders to end the machine; then 204
        self.nonces: list[str] = []
        self.ended: list[str] = []  # Authorization of each order to end it
        self.fetched = 0
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == f"/api/training/jobs/{JOB}/bootstrap"
                outside.nonces.append(body["nonce"])
                status = outside.statuses.pop(0) if outside.statuses else 200
                right = self.headers["Authorization"] == f"Bearer {FIRST_TOKEN}"
                self.answer(status if right else 401, outside.grant() if status == 200 else {"detail": "No."})

            def do_GET(self) -> None:
                outside.fetched += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(outside.program)))
                self.end_headers()
                self.wfile.write(outside.program)

            def do_DELETE(self) -> None:
                assert self.path == "/v2/pods/pod1"
                assert not self.headers["User-Agent"].startswith("Python-urllib")
                outside.ended.append(self.headers["Authorization"])
                self.answer(outside.deletes.pop(0) if outside.deletes else 204, {})

            def answer(self, status: int, document: dict[str, Any]) -> None:
                if status == 0:
                    self.connection.close()
                    return
                body = b"" if status == 204 else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def grant(self) -> dict[str, Any]:
        sha256 = self.sha256 or hashlib.sha256(self.program).hexdigest()
        program = {"url": f"{self.url}/api/training/program", "sha256": sha256}
        return {"token": RUN_TOKEN, "program": program, "seconds": self.seconds}


class Machine:
    """A container: a disk that outlives its processes, and one process after the other."""

    def __init__(self, outside: Outside, disk: Path) -> None:
        self.outside, self.disk = outside, disk
        self.process: subprocess.Popen[bytes] | None = None

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "JOB_ID": JOB,
            "JOB_TOKEN": FIRST_TOKEN,
            "METRICS_API_URL": f"{self.outside.url}/api/training/jobs",
            "STOKER_WORK_DIR": str(self.disk / "work"),
            "STOKER_POD_API_URL": f"{self.outside.url}/v2",
            "STOKER_POD_AGAIN_SECONDS": "0.05",
            "RUNPOD_POD_ID": "pod1",
            "RUNPOD_API_KEY": POD_KEY,
        } | more

    def start(self, **more: str) -> Machine:
        with (self.disk / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM)], env=self.variables(**more), stdout=output, stderr=output, cwd=self.disk
            )
        return self

    def end(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def orders(self, count: int = 1) -> None:
        """Wait until it has asked for its own end so often."""
        until(lambda: len(self.outside.ended) >= count, 15, f"{count} orders to end the machine; {self.output}")

    def wrote(self, name: str) -> str:
        path = self.disk / "work" / name
        until(path.exists, 15, f"{name}; {self.output}")
        return path.read_text()

    @property
    def output(self) -> str:
        return (self.disk / "output").read_text()


@pytest.fixture
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def machine(outside: Outside, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(outside, tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def test_it_trains_and_then_asks_for_its_own_end_without_end(machine: Machine, outside: Outside) -> None:
    outside.deletes = [500, 403, 204, 404]
    machine.start().orders(6)
    assert set(outside.ended) == {f"Bearer {POD_KEY}"}
    assert machine.process is not None
    assert machine.process.poll() is None, "a process that ends is started again, and billed"
    assert machine.end() == 0


def test_the_program_alone_has_the_token_of_the_run_and_not_the_machines_key(machine: Machine) -> None:
    machine.start().orders()
    environment = json.loads(machine.wrote("environment"))
    assert environment["JOB_TOKEN"] == RUN_TOKEN
    assert POD_KEY not in environment.values()
    assert FIRST_TOKEN not in environment.values()
    for secret in (FIRST_TOKEN, RUN_TOKEN, POD_KEY):
        assert secret not in machine.output
    assert "exit code 0" in machine.output


def test_a_lost_answer_is_asked_for_again_by_the_same_machine(machine: Machine, outside: Outside) -> None:
    outside.statuses = [0, 503]
    machine.start().wrote("environment")
    assert len(outside.nonces) == 3
    assert len(set(outside.nonces)) == 1
    assert len(outside.nonces[0]) >= 32


@pytest.mark.parametrize("status", [401, 404, 409, 410, 422])
def test_what_the_server_will_not_have_ends_itself(machine: Machine, outside: Outside, status: int) -> None:
    outside.statuses = [status] * 9
    machine.start().orders()
    assert outside.fetched == 0
    assert f"{status} No." in machine.output


@pytest.mark.parametrize("more", [{"JOB_TOKEN": ""}, {"JOB_ID": ""}, {"METRICS_API_URL": "ftp://x"}])
def test_an_environment_that_is_not_complete_ends_the_machine(machine: Machine, more: dict[str, str]) -> None:
    machine.start(**more).orders()
    assert next(iter(more)) in machine.output


@pytest.mark.parametrize(
    "change",
    [{"token": None}, {"token": ""}, {"program": None}, {"program": {"url": 1}}, {"seconds": "x"}, {"seconds": -1}],
)
def test_an_answer_without_sense_ends_the_machine(
    machine: Machine, outside: Outside, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    grant = outside.grant() | change
    monkeypatch.setattr(outside, "grant", lambda: grant)
    machine.start().orders()
    assert outside.fetched == 0


def test_a_container_that_is_started_again_does_not_train_twice(machine: Machine, outside: Outside) -> None:
    machine.start().orders()
    assert machine.process is not None
    machine.process.kill()
    machine.process.wait()
    exchanges, ended = len(outside.nonces), len(outside.ended)
    machine.start().orders(ended + 1)
    assert len(outside.nonces) == exchanges
    assert outside.fetched == 1
    assert "does not train twice" in machine.output


def test_a_container_killed_before_it_trained_goes_on_with_the_same_nonce(machine: Machine, outside: Outside) -> None:
    outside.statuses = [503] * 1000
    machine.start()
    until(lambda: outside.nonces, 15)
    assert machine.process is not None
    machine.process.kill()
    machine.process.wait()
    outside.statuses = []
    machine.start().wrote("environment")
    assert len(set(outside.nonces)) == 1


def test_a_program_with_the_wrong_digest_is_never_run(machine: Machine, outside: Outside) -> None:
    outside.sha256 = "0" * 64
    machine.start(STOKER_POD_CONTACT_SECONDS="0.5").orders()
    assert outside.fetched >= 1
    assert not (machine.disk / "work" / "environment").exists()


def test_a_program_that_was_replaced_meanwhile_is_fetched_by_its_new_digest(machine: Machine, outside: Outside) -> None:
    outside.sha256 = "0" * 64
    machine.start()
    until(lambda: outside.fetched >= 3, 15)
    outside.sha256 = ""
    machine.wrote("environment")


def test_a_server_that_is_not_there_ends_the_machine_in_the_end(machine: Machine, outside: Outside) -> None:
    machine.start(METRICS_API_URL="http://127.0.0.1:9/api", STOKER_POD_CONTACT_SECONDS="0.3").orders()
    assert "could not be reached" in machine.output


def test_sigterm_reaches_the_program_which_saves_and_the_machine_is_left_to_whoever_ends_it(
    machine: Machine, outside: Outside
) -> None:
    outside.program = OBEYS.encode()
    machine.start().wrote("ready")
    assert machine.end() == 0
    assert (machine.disk / "work" / "checkpoint").exists()
    assert outside.ended == []


def test_sigterm_before_the_training_ends_it_at_once(machine: Machine, outside: Outside) -> None:
    outside.statuses = [503] * 1000
    machine.start()
    until(lambda: outside.nonces, 15)
    assert machine.end() == 0
    assert not (machine.disk / "work" / "pod" / "began").exists()


@pytest.mark.parametrize(("granted", "asked"), [(0.2, ""), (9999, "0.2")], ids=["by the server", "by the environment"])
def test_a_program_that_will_not_end_is_ended(
    outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, granted: float, asked: str
) -> None:
    outside.program, outside.seconds = IGNORES.encode(), granted
    monkeypatch.setattr(pod, "OVERTIME_SECONDS", 0.3)
    began = time.monotonic()
    code = pod.Pod(Machine(outside, tmp_path).variables(STOKER_MAX_SECONDS=asked))._train()
    assert code == -signal.SIGKILL
    assert 0.5 <= time.monotonic() - began < 10


def test_without_a_key_it_says_so_and_stays(machine: Machine, outside: Outside) -> None:
    machine.start(RUNPOD_API_KEY="")
    until(lambda: "cannot end itself" in machine.output, 15)
    assert machine.end() == 0
    assert outside.ended == []
