"""A cluster of our own on localhost, which speaks the contract in docs/cluster.md over real HTTP and trains nothing.

    with FakeCluster() as fake:
        fake.url                                       # http://127.0.0.1:PORT
        fake.fault("submit", "lost")                   # the next job is made, but its answer gets lost
        fake.change(name, status="failed", error="CUDA out of memory")
        fake.jobs, fake.requests                       # what exists, and what was asked

`python -m tests.fakes.cluster --port 9002 --state cluster.json` runs it by itself. Then the same is done over HTTP:
GET `/_control/` shows everything; POST `/_control/faults`, `/_control/jobs/<name>` and `/_control/settings` with a JSON
object do what `fault`, `change` and the constructor's arguments do; DELETE `/_control/jobs/<name>` makes a job vanish.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "playground-key"
NOTE = "Imitated: nothing is trained here, and the loss is made up."
PAGE = b"<!doctype html><html><head><title>Gateway</title></head><body><h1>Something is wrong</h1></body></html>"
REQUESTS_KEPT = 5_000
SETTINGS = ("idempotent", "queue_seconds", "step_seconds", "cancel_seconds", "history")


class FakeCluster:
    """`history`: a status tells all points and not only the newest. `calls_back`: jobs call their callback_url."""

    def __init__(
        self,
        *,
        port: int = 0,
        state: Path | None = None,
        idempotent: bool = True,
        queue_seconds: float = 0.1,
        step_seconds: float = 0.02,
        cancel_seconds: float = 0.05,
        history: bool = False,
        calls_back: bool = False,
    ) -> None:
        self.idempotent, self.history = idempotent, history
        self.queue_seconds, self.step_seconds, self.cancel_seconds = queue_seconds, step_seconds, cancel_seconds
        self.keys = {KEY}
        self.jobs: dict[str, dict[str, Any]] = {}  # by the cluster's own id
        self.faults: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.lock = threading.RLock()
        self._state = state
        self._told: dict[str, tuple[str, int]] = {}
        if state and state.exists():
            self.jobs = json.loads(state.read_text())
        self._http = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"fake": self}))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)]
        if calls_back:
            self._threads.append(threading.Thread(target=self._keep_calling_back, daemon=True))

    def __enter__(self) -> FakeCluster:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._http.shutdown()
            self._http.server_close()
            self._http.cut()

    # What a test asks and orders

    def fault(self, on: str, what: str, *, times: int | None = 1, **values: Any) -> None:
        """Spoil the next `times` calls of a kind (submit, status, cancel, or *); None for all of them.

        cut: nothing is done. lost, truncated: done, but the answer does not (wholly) arrive. error: `code`, `detail`
        and `retry_after`, done only when `made`. slow: done after `seconds`. html, redirect, huge, list, conflict,
        no_id: done, with such an answer.
        """
        with self.lock:
            self.faults.append({"on": on, "what": what, "times": times, **values})

    def change(self, name: str, **fields: Any) -> None:
        """From now on the status of a job has these fields; None takes one of them back."""
        with self.lock:
            for job in self.named(name):
                job["fields"] = {k: v for k, v in (job["fields"] | fields).items() if v is not None}
            self._keep()

    def vanish(self, name: str) -> None:
        """The cluster forgets a job."""
        with self.lock:
            self.jobs = {key: job for key, job in self.jobs.items() if job["name"] != name}
            self._keep()

    def named(self, name: str) -> list[dict[str, Any]]:
        with self.lock:
            return [job for job in self.jobs.values() if name in (job["name"], job["id"])]

    def alive(self) -> list[str]:
        """The names of the jobs that are not over, each as often as there is such a job."""
        with self.lock:
            over = ("completed", "failed", "cancelled")
            return [job["name"] for job in self.jobs.values() if self.status(job)["status"] not in over]

    def count(self, call: str) -> int:
        with self.lock:
            return sum(1 for request in self.requests if request["call"] == call)

    def call_back(self, name: str) -> int:
        """Let a job call its callback_url now. Return the HTTP status of the answer."""
        job = self.named(name)[0]
        body = json.dumps(self.status(job)).encode()
        request = urllib.request.Request(job["callback_url"], body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    # What a cluster does

    def submit(self, body: dict[str, Any], key: str) -> dict[str, Any]:
        name = str(body.get("job_id"))
        with self.lock:
            same = [job for job in self.jobs.values() if job["name"] == name]
            if same and self.idempotent:
                return self.status(same[0])
            settings = body.get("hyperparameters") or {}
            number = len(self.jobs) + 1
            job: dict[str, Any] = {
                "id": f"c-{random.Random(f'{name} {number} {time.time()}').getrandbits(40):010x}",
                "name": name,
                "created_at": time.time(),
                "total_steps": int(settings.get("max_steps") or 0) or 200,
                "logging_steps": int(settings.get("logging_steps") or 1),
                "learning_rate": float(settings.get("learning_rate") or 2e-4),
                "callback_url": body.get("callback_url") or "",
                "idempotency_key": key,
                "cancelled_at": None,
                "fields": {},
            }
            self.jobs[job["id"]] = job
            self._keep()
            return self.status(job)

    def status(self, job: dict[str, Any]) -> dict[str, Any]:
        """The status object at this moment: everything follows from the clock and when the job was made and stopped."""
        now, stopped = time.time(), job["cancelled_at"]
        trained = min(now, stopped or now) - job["created_at"] - self.queue_seconds
        total = job["total_steps"]
        step = min(total, max(0, int(trained / self.step_seconds)))
        if step >= total:
            word = "completed"
        elif stopped:
            word = "cancelled" if now - stopped >= self.cancel_seconds else "cancelling"
        else:
            word = "running" if trained > 0 else "queued"
        every = job["logging_steps"]
        first = every if self.history else step - step % every
        points = [_point(job, at) for at in range(max(first, every), step + 1, every)]
        told = {
            "external_job_id": job["id"],
            "job_id": job["name"],
            "status": word,
            "progress": round(100 * step / total, 2),
            "current_epoch": round(3 * step / total, 4),
            "current_step": step,
            "total_steps": total,
            "total_epochs": 3,
            "metrics": points if self.history else (points[-1] if points else {}),
            "error": None,
            "created_at": datetime.fromtimestamp(job["created_at"], UTC).isoformat(),
            "note": NOTE,
        }
        return told | job["fields"]

    def cancel(self, job: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            job["cancelled_at"] = job["cancelled_at"] or time.time()
            self._keep()
        return {"external_job_id": job["id"], "status": "cancelling"}

    def spoilt(self, call: str) -> dict[str, Any] | None:
        """The fault that this call is to suffer, used up by one."""
        with self.lock:
            for fault in self.faults:
                if fault["on"] in (call, "*") and fault["times"] != 0:
                    if fault["times"] is not None:
                        fault["times"] -= 1
                    return fault
        return None

    def control(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        kind, _, name = path.removeprefix("/_control").strip("/").partition("/")
        if method == "GET" and not kind:
            jobs = [self.status(job) for job in list(self.jobs.values())]
            return 200, {"jobs": jobs, "faults": self.faults, "requests": self.requests}
        if method == "POST" and kind == "faults" and {"on", "what"} <= body.keys():
            self.fault(**body)
        elif method == "POST" and kind == "settings" and body.keys() <= set(SETTINGS):
            for setting, value in body.items():
                setattr(self, setting, value)
        elif kind == "jobs" and self.named(name) and method in ("POST", "DELETE"):
            self.change(name, **body) if method == "POST" else self.vanish(name)
        else:
            return 404, {"detail": "There is nothing of the kind to control."}
        return 200, {"done": True}

    def _keep(self) -> None:
        if self._state:
            draft = self._state.with_name(f".{self._state.name}.{os.getpid()}")
            draft.write_text(json.dumps(self.jobs))
            draft.replace(self._state)

    def _keep_calling_back(self) -> None:
        """Each job that has something new calls, and calls again until it is heard; a job that is over does so once."""
        while not self._ended.wait(1.0):
            for job in [job for job in list(self.jobs.values()) if job["callback_url"]]:
                status = self.status(job)
                news = (status["status"], status["current_step"])
                if self._told.get(job["id"]) != news:
                    with contextlib.suppress(OSError, ValueError):
                        self.call_back(job["id"])
                        self._told[job["id"]] = news


def _point(job: dict[str, Any], step: int) -> dict[str, Any]:
    share = step / job["total_steps"]
    noise = random.Random(f"{job['name']} {step}").gauss(0, 0.03)
    loss = 0.4 + 2.2 * math.exp(-4 * share) + noise
    return {"step": step, "loss": round(loss, 4), "learning_rate": job["learning_rate"] * (1 - share)}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.RequestHandlerClass.fake.connections += 1  # type: ignore[attr-defined]
        self._open.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hung up is no trouble."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def cut(self) -> None:
        """End the connections that are kept open: a server that is gone answers on none of them."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    fake: FakeCluster
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return self._answer(400, {"detail": "The body is not JSON."})
        if self.path.startswith("/_control"):
            return self._answer(*self.fake.control(method, self.path, body))
        call = {"/training/submit": "submit"}.get(self.path) or self.path.removeprefix("/training/").partition("/")[0]
        headers = {name: value for name, value in self.headers.items() if name != "Authorization"}
        with self.fake.lock:
            self.fake.requests.append({"call": call, "path": self.path, "headers": headers, "body": body})
            del self.fake.requests[:-REQUESTS_KEPT]
        fault = self.fake.spoilt(call) or {"what": ""}
        if fault["what"] == "cut":
            return self._cut()
        if fault["what"] == "slow":
            self.fake._ended.wait(fault["seconds"])
        if fault["what"] == "error" and not fault.get("made"):
            return self._error(fault)
        code, answer = self._do(method, call, body)
        return self._spoil(fault, code, answer)

    def _do(self, method: str, call: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.fake.keys:
            return 401, {"detail": "Invalid key."}
        if (method, call) == ("POST", "submit"):
            return 200, self.fake.submit(body, self.headers.get("Idempotency-Key", ""))
        job = self.fake.jobs.get(self.path.rpartition("/")[2])
        if (method, call) not in (("GET", "status"), ("POST", "cancel")) or job is None:
            return 404, {"detail": "There is no such job."}
        return 200, self.fake.status(job) if call == "status" else self.fake.cancel(job)

    def _spoil(self, fault: dict[str, Any], code: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        match fault["what"]:
            case "lost":
                return self._cut()
            case "truncated":
                return self._send(code, body[: len(body) // 2], length=len(body))
            case "error":
                return self._error(fault)
            case "html":
                return self._send(fault.get("code", 200), PAGE, {"Content-Type": "text/html"})
            case "redirect":
                return self._send(307, b"", {"Location": f"{self.fake.url}/elsewhere"})
            case "huge":
                return self._send(code, b'{"error": "' + b"x" * 6_000_000 + b'"}')
            case "conflict":
                return self._answer(409, {"detail": "There is such a job."} | answer)
            case "list":
                return self._send(code, b"[1, 2, 3]")
            case "no_id":
                return self._answer(code, {key: value for key, value in answer.items() if key != "external_job_id"})
        return self._send(code, body)

    def _error(self, fault: dict[str, Any]) -> None:
        headers = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
        self._send(fault.get("code", 500), json.dumps({"detail": fault.get("detail", "")}).encode(), headers)

    def _answer(self, code: int, answer: dict[str, Any]) -> None:
        self._send(code, json.dumps(answer).encode())

    def _send(
        self, code: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.send_response(code)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
        if length is not None:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.cluster", description="An imitated GPU cluster.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, help="a file in which the jobs outlive this process")
    parser.add_argument("--not-idempotent", action="store_true", help="the same submission twice makes two jobs")
    parser.add_argument("--queue-seconds", type=float, default=5.0)
    parser.add_argument("--step-seconds", type=float, default=0.5)
    given = parser.parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        fake = FakeCluster(
            port=given.port, state=given.state, idempotent=not given.not_idempotent, calls_back=True,
            queue_seconds=given.queue_seconds, step_seconds=given.step_seconds, cancel_seconds=2.0,
        )  # fmt: skip
    except OSError as error:
        print(f"Port {given.port} on 127.0.0.1 cannot be used: {error.strerror}.", file=sys.stderr)
        return 2
    with fake:
        print(f"Imitated cluster at {fake.url} (key: {KEY}); script it at {fake.url}/_control/", flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
