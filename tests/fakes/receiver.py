"""A receiver of webhooks on localhost, which checks signatures by itself and can be as unkind as real ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Taken:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def verify(taken: Taken, secret: str, now: float, tolerance: float = 300) -> bool:
    """As a receiver does it, written from the specification and not from our sender."""
    stamp = taken.headers["webhook-timestamp"]
    if abs(now - int(stamp)) > tolerance:
        return False
    key = base64.b64decode(secret.split("_", 1)[1])
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for part in (taken.headers["webhook-id"].encode(), b".", stamp.encode(), b".", taken.body):
        mac.update(part)
    expected = base64.b64encode(mac.digest()).decode()
    versions = [one.split(",", 1) for one in taken.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, value in versions)


class FakeReceiver:
    """`answers` are used up one a call: a status, (status, headers), "cut" or "hang"; afterwards all get 200."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.answers: list[Any] = []
        self.always: Any = 200
        self.body = b"ok"
        self.let_go = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.taken.append(Taken(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                answer = fake.answers.pop(0) if fake.answers else fake.always
                if answer == "cut":
                    return self.connection.close()
                if answer == "hang":
                    fake.let_go.wait(10)
                    return None
                status, headers = answer if isinstance(answer, tuple) else (answer, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(fake.body)))
                self.end_headers()
                self.wfile.write(fake.body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = type("Server", (ThreadingHTTPServer,), {"handle_error": lambda *args: None})(
            ("127.0.0.1", 0), Handler
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeReceiver:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
