"""Files of hundreds of megabytes pass through a real web server without passing through its memory."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from django.conf import settings
from django.db import connection

from datasets import storage
from datasets.models import Dataset
from tests.conftest import Person
from tests.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

MEGABYTE = 1 << 20
SIZE = int(os.environ.get("STOKER_TEST_UPLOAD_MB", "300")) * MEGABYTE
ALLOWED_GROWTH = 50 * MEGABYTE
LINE = json.dumps({"text": "x" * (64 * 1024 - 13)}).encode() + b"\n"
assert len(LINE) == 64 * 1024
CSRF = "a" * 32


class Server:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def forget_peak(self) -> int:
        """Start a new measurement of the greatest resident memory; return the present one."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    def peak(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])

    def bytes_read(self) -> int:
        return psutil.Process(self.process.pid).io_counters().read_chars


@pytest.fixture(params=["daphne", "uvicorn"])
def server(request: pytest.FixtureRequest, transactional_db: None, tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = {
        "daphne": ["-m", "pipeline.config.web", "-b", "127.0.0.1", "-p", str(port), "-v", "0"],
        "uvicorn": ["-m", "uvicorn", "--port", str(port), "--log-level", "warning"],
    }[request.param]
    database = connection.settings_dict
    environment = os.environ | {
        "DATABASE_URL": f"postgresql:///{database['NAME']}?user={database['USER']}&host={database['HOST']}",
        "STOKER_DATABASE_POOL": "2",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "pipeline.config.asgi:application"],
            cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=log,
        )  # fmt: skip

    def listens() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, 60, "the web server")
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()


def headers(person: Person, length: int) -> dict[str, str]:
    session = person.browser.cookies[settings.SESSION_COOKIE_NAME].value
    return {
        "Cookie": f"{settings.SESSION_COOKIE_NAME}={session}; {settings.CSRF_COOKIE_NAME}={CSRF}",
        "X-CSRFToken": CSRF,
        "Content-Type": "multipart/form-data; boundary=border",
        "Content-Length": str(length),
    }


PREFIX = b'--border\r\nContent-Disposition: form-data; name="file"; filename="big.jsonl"\r\n\r\n'
SUFFIX = b"\r\n--border--\r\n"


def send_file(server: Server, person: Person, size: int) -> tuple[int, dict[str, Any], str]:
    digest = hashlib.sha256()

    def body() -> Iterator[bytes]:
        yield PREFIX
        for _ in range(size // len(LINE)):
            digest.update(LINE)
            yield LINE
        yield SUFFIX

    length = len(PREFIX) + size // len(LINE) * len(LINE) + len(SUFFIX)
    with closing(server.connect()) as client:
        client.request("POST", "/api/datasets/", body(), headers(person, length))
        answer = client.getresponse()
        return answer.status, json.loads(answer.read()), digest.hexdigest()


def leftovers() -> list[Path]:
    return [
        *settings.FILE_UPLOAD_TEMP_DIR.iterdir(),
        *(storage.local_path("lora-datasets", "") / storage.INCOMING).glob("*"),
    ]


def test_large_upload_does_not_grow_the_web_process(server: Server, owner: Person) -> None:
    assert send_file(server, owner, MEGABYTE)[0] == 201  # loads whatever a first upload needs
    before = server.forget_peak()
    status, answer, sha256 = send_file(server, owner, SIZE)
    growth = server.peak() - before
    print(f"{SIZE // MEGABYTE} MB uploaded, the web process grew by {growth / MEGABYTE:.1f} MB")
    assert status == 201, answer
    assert (answer["size_bytes"], answer["sha256"]) == (SIZE, sha256)
    assert growth < ALLOWED_GROWTH
    until(lambda: not leftovers(), 10, "temporary files to go")


def test_client_that_goes_away_leaves_nothing(server: Server, owner: Person) -> None:
    with closing(server.connect()) as client:
        client.putrequest("POST", "/api/datasets/")
        for name, value in headers(owner, 100 * MEGABYTE).items():
            client.putheader(name, value)
        client.endheaders()
        client.send(PREFIX + LINE * 320)
    assert send_file(server, owner, MEGABYTE)[0] == 201
    assert Dataset.objects.count() == 1
    until(lambda: not leftovers(), 10, "temporary files to go")


def test_slow_download_does_not_grow_the_web_process(server: Server) -> None:
    storage.save("artifacts", "large.bin", (bytes(MEGABYTE) for _ in range(SIZE // MEGABYTE)))
    storage.save("artifacts", "small.bin", [bytes(MEGABYTE)])
    for name in ("small.bin", "large.bin"):
        before = server.forget_peak()
        address = urlsplit(storage.signed_url("artifacts", name, timedelta(hours=1))).path
        with closing(server.connect()) as client:
            client.request("GET", address)
            answer = client.getresponse()
            seen = [-1] * 5

            def server_waits(seen: list[int] = seen) -> bool:
                seen.append(server.bytes_read())
                return len(seen) > 15 and len(set(seen[-5:])) == 1

            until(server_waits, 30, "the server to wait for its reader")
            growth = server.peak() - before
            received = 0
            while chunk := answer.read(MEGABYTE):
                received += len(chunk)
    print(f"{SIZE // MEGABYTE} MB waited for their reader, the web process grew by {growth / MEGABYTE:.1f} MB")
    assert received == SIZE
    assert growth < ALLOWED_GROWTH
