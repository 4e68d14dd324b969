"""The socket behind real web servers: Daphne, which the product runs, and uvicorn, which it may run instead."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from django.db import connection, transaction
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from pipeline import ingest
from pipeline.live.outbox import WINDOW_BYTES
from pipeline.models import LogLine
from pipeline.transitions import allocate
from tests.factories import make_running_job
from tests.pipeline.live.conftest import Server
from tests.pipeline.live.page import View, cookie_of
from tests.waiting import until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.e2e]

StartServer = Callable[[str], Server]
MEGABYTE = 1024 * 1024


def open_socket(server: Server, person: Any, **options: Any) -> ClientConnection:
    headers = {"Cookie": cookie_of(person)} if person else {}
    return connect(server.url, additional_headers=headers, **({"origin": server.origin} | options))


def follow(page: ClientConnection, job: Any, after: int = 0) -> None:
    page.send(json.dumps({"subscribe": "job", "id": str(job.pk), "after": after}))


def read_until(page: ClientConnection, job: Any, view: View, seq: int) -> None:
    """Read and acknowledge frames until `seq` has come."""
    while view.seq < seq:
        frame = json.loads(page.recv(timeout=30))
        if frame["t"] == "job":
            view.take(frame)
            page.send(json.dumps({"ack": {str(job.pk): view.seq}}))


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_six_writers_and_pages_that_come_and_go(start_server: StartServer, owner: Any, kind: str) -> None:
    server = start_server(kind)
    job, attempt, _ = make_running_job(owner.user)
    writers, rounds = 6, 30

    def write(writer: int) -> None:
        try:
            for k in range(rounds):
                ingest.record_metrics(attempt.pk, [{"step": writer * 1000 + k, "loss": float(k)}])
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(1, writers + 1)]
    for thread in threads:
        thread.start()
    view, total = View(), writers * rounds
    for stop_at in (20, 60, 110, total):  # the page loses its connection again and again
        with open_socket(server, owner) as page:
            follow(page, job, view.seq)
            read_until(page, job, view, stop_at)
    for thread in threads:
        thread.join()
    assert not view.gaps
    assert sorted(view.points) == sorted(w * 1000 + k for w in range(1, writers + 1) for k in range(rounds))
    assert view.seq == total


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_three_people_and_a_foreign_site(
    start_server: StartServer, owner: Any, stranger: Any, signed_out: Any, kind: str
) -> None:
    server = start_server(kind)
    job, _, _ = make_running_job(owner.user)
    with open_socket(server, owner) as page:
        follow(page, job)
        assert json.loads(page.recv(timeout=20))["t"] == "job"
    with open_socket(server, stranger) as page:
        follow(page, job)
        assert json.loads(page.recv(timeout=20))["code"] == "not_found"
    with open_socket(server, signed_out) as page, pytest.raises(ConnectionClosed) as closed:
        page.recv(timeout=20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    with pytest.raises(InvalidStatus) as refused:
        open_socket(server, owner, origin="http://evil.example")
    assert refused.value.response.status_code == 403


class DeafClient:
    """Shakes hands, subscribes, and never reads again."""

    def __init__(self, server: Server, person: Any) -> None:
        self.line = socket.create_connection(("127.0.0.1", server.port))
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws/ HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Origin: {server.origin}",
            f"Cookie: {cookie_of(person)}",
        ]  # fmt: skip
        self.line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.line.recv(1)
        assert b" 101 " in answer

    def say(self, message: Any) -> None:
        data, mask = json.dumps(message).encode(), b"\0\0\0\0"
        assert len(data) < 126
        self.line.sendall(struct.pack("!BB", 0x81, 0x80 | len(data)) + mask + data)

    def read_to_the_end(self) -> int:
        """How many bytes had been sent here. The end may be a reset: a close that nobody answers is not waited for."""
        self.line.settimeout(20)
        size = 0
        with suppress(ConnectionResetError):
            while piece := self.line.recv(65_536):
                size += len(piece)
        return size

    def close(self) -> None:
        self.line.close()


def test_a_page_that_stops_reading_costs_a_bounded_amount_of_memory_and_is_cut_off(
    start_server: StartServer, owner: Any
) -> None:
    server = start_server("daphne")
    job, _, _ = make_running_job(owner.user)
    with open_socket(server, owner) as page, closing(DeafClient(server, owner)) as deaf:
        follow(page, job)
        page.recv(timeout=20)
        view = View()
        deaf.say({"subscribe": "job", "id": str(job.pk)})
        before = server.memory()
        deadline = time.monotonic() + 60
        while server.connections() > 1:
            assert time.monotonic() < deadline, "the page that stopped reading was never cut off"
            read_until(page, job, view, store_log(job, len(view.logs), 60))
        growth = server.memory() - before
        written = len(view.logs) * 4_000
        assert written > 5 * MEGABYTE, "too little was written to show anything"
        assert deaf.read_to_the_end() < WINDOW_BYTES + MEGABYTE
    assert growth < 40 * MEGABYTE, f"{growth / MEGABYTE:.0f} MB"


def store_log(job: Any, after: int, count: int) -> int:
    """Store log lines of 4,000 characters under one number, and return it."""
    with transaction.atomic():
        seq = allocate(job.pk)
        LogLine.objects.bulk_create(
            LogLine(job=job, attempt=1, n=n, seq=seq, at=job.created_at, text="x" * 4_000)
            for n in range(after + 1, after + 1 + count)
        )
    return seq


def test_a_restart_of_the_server_loses_nothing(start_server: StartServer, owner: Any) -> None:
    server = start_server("daphne")
    job, attempt, _ = make_running_job(owner.user)
    view = View()
    with open_socket(server, owner) as page:
        follow(page, job)
        ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
        read_until(page, job, view, 1)
        server.process.terminate()
        with pytest.raises(ConnectionClosed):
            read_until(page, job, view, 2)
    until(lambda: server.process.poll() is not None, 20, "the server to end")
    ingest.record_metrics(attempt.pk, [{"step": 2, "loss": 1.0}])
    with open_socket(start_server("daphne"), owner) as page:
        follow(page, job, view.seq)
        read_until(page, job, view, 2)
    assert sorted(view.points) == [1, 2]
    assert not view.gaps
