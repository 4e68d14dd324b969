"""A real HTTP server on localhost that speaks the wire of the training program, and can be told to misbehave.

It keeps what a server keeps (events by number, checked artifacts, the last word) and what a test wants to know (how
often an event was sent, which requests came). Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "job-token-of-the-tests-0123456789"
JOB_ID = "11111111-2222-3333-4444-555555555555"


@dataclass
class Faults:
    """Switches; all may be turned while a program is running."""

    down: bool = False  # connections are cut without an answer
    unavailable: bool = False  # 503 with Retry-After
    flooded: int = 0  # so many requests are answered with 429 and Retry-After
    over: int = 0  # answer this status (401, 404, 410) to everything but the spec
    cut_after_storing: int = 0  # so many `events` answers are lost after the events were stored
    wrong_file: bool = False  # dataset downloads carry other bytes than announced
    refuse_uploads: int = 0  # so many uploads are answered with 422 at `complete`
    refuse_event_text: str = ""  # a batch that holds this text is answered with 422
    stop_after_step: int | None = None  # a stop request once a metric of this step is stored
    stop: dict[str, Any] = field(default_factory=lambda: {"reason": "cancelled_by_user", "grace_seconds": 60})
    silent_after_step: int | None = None  # like `down`, from a metric of this step on


class WireServer:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults = Faults()
        self.spec: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.events: dict[int, dict[str, Any]] = {}
        self.sent = Counter[int]()
        self.requests: list[str] = []
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.finish: dict[str, Any] | None = None
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        handler = type("Handler", (WireHandler,), {"wire": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def api_url(self) -> str:
        return f"{self.origin}/api/training/jobs"

    def __enter__(self) -> WireServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    # What a test asks.

    def add_file(self, name: str, content: bytes) -> dict[str, Any]:
        """Serve a file; return the url, sha256 and size of its link."""
        self.files[name] = content
        digest = hashlib.sha256(content).hexdigest()
        url = f"{self.origin}/files/{name}?signature=abc123secret"
        return {"url": url, "sha256": digest, "size_bytes": len(content)}

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        with self.lock:
            return [self.events[n]["data"] for n in sorted(self.events) if self.events[n]["kind"] == kind]

    def metrics(self, name: str = "loss") -> list[tuple[int, float]]:
        return [(data["step"], data[name]) for data in self.of_kind("metric") if name in data]

    def stored(self, kind: str) -> list[dict[str, Any]]:
        with self.lock:
            return [a for a in self.artifacts.values() if a["kind"] == kind and a["state"] == "stored"]

    @property
    def acked(self) -> int:
        n = 0
        while n + 1 in self.events:
            n += 1
        return n

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> None:
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise AssertionError(f"It did not happen within {timeout} s; last requests: {self.requests[-5:]}")

    # What the program asks.

    def store(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self.sent[event["n"]] += 1
            self.events.setdefault(event["n"], event)
            self.on_event(event)
            step = event["data"].get("step", 0) if event["kind"] == "metric" else -1
            if self.faults.silent_after_step is not None and step >= self.faults.silent_after_step:
                self.faults.down = True
        self.changed.notify_all()

    def stop_answer(self) -> dict[str, Any] | None:
        after = self.faults.stop_after_step
        if after is None:
            return None
        steps = [e["data"]["step"] for e in self.events.values() if e["kind"] == "metric"]
        return self.faults.stop if max(steps, default=0) >= after else None


class WireHandler(BaseHTTPRequestHandler):
    wire: WireServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def _handle(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wire, path = self.wire, self.path.split("?")[0]
        with wire.changed:
            wire.requests.append(f"{method} {path}")
            wire.changed.notify_all()
            if wire.faults.down:
                return self._cut()
            if wire.faults.unavailable:
                return self._answer(503, {"title": "Restarting"}, {"Retry-After": "0.2"})
            if wire.faults.flooded:
                wire.faults.flooded -= 1
                return self._answer(429, {"title": "Too many", "code": "too_many"}, {"Retry-After": "0.2"})
            if path.startswith("/files/"):
                content = wire.files.get(path.removeprefix("/files/"))
                if content is None:
                    return self._send(404, b"gone")
                return self._send(200, b"x" + content[1:] if wire.faults.wrong_file else content)
            if path.startswith("/upload/"):
                artifact = wire.artifacts[path.removeprefix("/upload/")]
                artifact["path"].write_bytes(body)
                return self._answer(200, {})
            return self._api(method, path, body)

    def _api(self, method: str, path: str, body: bytes) -> None:
        wire = self.wire
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._answer(401, {"title": "Wrong token", "code": "wrong_token"})
        prefix = f"/api/training/jobs/{JOB_ID}/"
        if not path.startswith(prefix):
            return self._answer(404, {"title": "Not this job"})
        name, document = path.removeprefix(prefix), json.loads(body or b"{}")
        if wire.faults.over and name != "spec":
            return self._answer(wire.faults.over, {"title": "Over", "detail": "This attempt is over.", "stop": None})
        if name == "spec":
            return self._answer(200, wire.spec)
        if name == "events":
            return self._events(document["events"], body)
        if name == "artifacts":
            number = str(len(wire.artifacts) + 1)
            path = wire.root / f"{number}.bin"
            wire.artifacts[number] = {**document, "id": number, "state": "expected", "path": path}
            upload = {"method": "PUT", "url": f"{wire.origin}/upload/{number}", "headers": {}}
            return self._answer(201, {"id": number, "upload": upload})
        if name.startswith("artifacts/") and name.endswith("/complete"):
            return self._complete(wire.artifacts[name.split("/")[1]])
        if name == "finish":
            return self._finish(document)
        return self._answer(404, {"title": "No such address"})

    def _events(self, events: list[dict[str, Any]], body: bytes) -> None:
        wire = self.wire
        if wire.faults.refuse_event_text and wire.faults.refuse_event_text.encode() in body:
            return self._answer(422, {"title": "Bad event"})
        wire.store(events)
        if wire.faults.cut_after_storing:
            wire.faults.cut_after_storing -= 1
            return self._cut()
        if wire.faults.down:
            return self._cut()
        return self._answer(200, {"acked": wire.acked, "stop": wire.stop_answer(), "save": False})

    def _complete(self, artifact: dict[str, Any]) -> None:
        content = artifact["path"].read_bytes()
        right = len(content) == artifact["size_bytes"] and hashlib.sha256(content).hexdigest() == artifact["sha256"]
        if self.wire.faults.refuse_uploads or not right:
            self.wire.faults.refuse_uploads = max(0, self.wire.faults.refuse_uploads - 1)
            return self._answer(422, {"title": "The checksum differs"})
        artifact["state"] = "stored"
        return self._answer(200, {"id": artifact["id"], "state": "stored"})

    def _finish(self, document: dict[str, Any]) -> None:
        if self.wire.acked < document["last_n"]:
            return self._answer(409, {"code": "events_missing", "acked": self.wire.acked})
        if document["outcome"] == "completed" and not self.wire.stored("adapter"):
            return self._answer(409, {"code": "artifact_missing"})
        self.wire.finish = document
        return self._answer(200, {"acked": self.wire.acked})

    def _answer(self, status: int, document: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(document).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()
