"""A server that answers what a test tells it to, and ways into the real one."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from stoker_client import Client
from stoker_client.cli import run


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """`answers` are given in their order, the last one for ever: (status, headers, body), or None to hang up."""

    url: str = ""
    answers: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def next(self) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def server() -> Iterator[Server]:
    scripted = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            told = scripted.next()
            if told is None:
                self.close_connection = True
                return
            status, headers, content = told
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(raw)), "Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - names of the base class

        def log_message(self, *words: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted.url = f"http://127.0.0.1:{listening.server_port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(server: Server, pauses: list[float]) -> Iterator[Client]:
    """A client of the scripted server that writes down how long it would have slept."""
    with Client(server.url, "stk_u_x", patience=60, pause=pauses.append) as client:
        yield client


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nobody has signed in yet."""
    monkeypatch.setattr("stoker_client.cli.keep.typer.get_app_dir", lambda name: str(tmp_path / name))
    for name in ("STOKER_URL", "STOKER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "stoker"


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Stoker = Callable[..., Said]


@pytest.fixture
def stoker(home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Stoker:
    """The command, in this process: stoker("jobs", "list") returns its exit code and what it said.

    In its own process nobody listens to the library's log; here the server's handlers would write it between the lines.
    """
    caplog.set_level(logging.WARNING, "httpx")

    def typed(*words: str) -> Said:
        code = run(list(words))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return typed
