"""The imitated API on a real socket: reads requests, sends replies whole, late, in half or not at all."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.runpod import control
from tests.fakes.runpod.clock import text
from tests.fakes.runpod.replies import Reply, problem

if TYPE_CHECKING:
    from tests.fakes.runpod import FakeRunPod

LOOK_SECONDS = 0.1


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, fake: FakeRunPod, port: int) -> None:
        super().__init__(("127.0.0.1", port), type("Handler", (Handler,), {"fake": fake}))
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="fake RunPod", daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Stop answering, and cut the connections that clients keep open."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is its own affair; anything else is a fault of this program and is told."""
        import sys

        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    fake: FakeRunPod
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names are the base class's

    def log_message(self, *arguments: Any) -> None:
        """Silent: calls are recorded."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        # Each part of the path by itself: a name may hold an encoded slash.
        path = "/".join(unquote(part) for part in parts.path.split("/"))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.startswith("/_control/"):
            self._send(self._control(path.removeprefix("/_control/"), query, raw))
            return
        call, words = self.fake.api.call(self.command, path, query, raw)
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        reply = self.fake.api.answer(call, words, raw, self.headers.get("User-Agent", ""), key)
        self.fake.record(call, reply)
        if reply.delay:
            self.server.stopping.wait(reply.delay)
        reply.headers["x-request-id"] = uuid.uuid4().hex
        if reply.stream_of:
            self._stream(reply, query)
        else:
            self._send(reply)

    def _control(self, what: str, query: dict[str, str], raw: bytes) -> Reply:
        """For people and tests at this machine; a page in a browser has no business here."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if "Origin" in self.headers or host not in ("127.0.0.1", "localhost"):
            return problem(403, "The control interface answers programs on this machine only.")
        return control.answer(self.fake, self.command, what, query, raw)

    def _send(self, reply: Reply) -> None:
        if reply.cut == "all":
            self._cut()
            return
        body = reply.raw if reply.raw is not None else b""
        if reply.raw is None and reply.status != 204:
            body = json.dumps(reply.document).encode()
        self.send_response(reply.status)
        if reply.status != 204:
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if reply.cut == "half" else body)
        if reply.cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _stream(self, reply: Reply, query: dict[str, str]) -> None:
        """The last lines of a log as server-sent events, then what comes; ends only when somebody hangs up."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for frame in self._frames(reply.stream_of, query):
            self.wfile.write(frame.encode())
        while not self.server.stopping.is_set():
            if select.select([self.connection], [], [], LOOK_SECONDS)[0] and not self.connection.recv(1):
                return

    def _frames(self, id_: str, query: dict[str, str]) -> Iterator[str]:
        try:
            tail = max(0, min(5000, int(query.get("tail", 100))))
        except ValueError:
            tail = 100
        for number, (at, source, line) in enumerate(self.fake.log_lines(id_, query.get("source", ""), tail), start=1):
            data = json.dumps({"source": source, "line": line, "ts": text(at)})
            yield f"id: {number}\ndata: {data}\n\n"
