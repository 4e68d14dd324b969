from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from pipeline.config.embedded import Valkey
from pipeline.live import hints, tailer
from tests.pipeline.live.page import Browser, Page
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def browser(transactional_db: None) -> Iterator[Browser]:
    browser = Browser()
    yield browser
    try:
        browser.run(_close_tailer())
    finally:
        browser.close()


async def _close_tailer() -> None:
    await tailer.current().close()


@pytest.fixture
def live(browser: Browser) -> Callable[[], tailer.Tailer]:
    """The reader behind the pages of this test."""

    async def current() -> tailer.Tailer:
        return tailer.current()

    return lambda: browser.run(current())


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`page = open_page(person)`: a page on this process's own server side; all are closed at the end."""
    pages: list[Page] = []

    def opened(person: Any, **options: Any) -> Page:
        pages.append(Page(browser, person, **options))
        return pages[-1]

    yield opened
    for page in pages:
        page.leave()


@pytest.fixture
def own_valkey(tmp_path: Path, settings: Any) -> Iterator[Valkey]:
    """A Valkey that a test may stop, freeze and empty."""
    valkey = Valkey(tmp_path / "valkey")
    valkey.attach()
    settings.STOKER_HINTS_URL = f"unix://{valkey.socket}?db=1"
    forget_redis()
    yield valkey
    process = valkey.process()
    if process is not None:
        process.resume()
    valkey.release()
    forget_redis()


def forget_redis() -> None:
    hints._client.cache_clear()
    hints._quiet_until = 0.0


class Server:
    """A real web server in a process of its own, on this test's database."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def connections(self) -> int:
        """How many clients are connected."""
        open_ones = psutil.Process(self.process.pid).net_connections("tcp")
        return len([one for one in open_ones if one.status == psutil.CONN_ESTABLISHED])


@pytest.fixture
def start_server(transactional_db: None, tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(_server(kind, tmp_path))


@contextmanager
def _server(kind: str, folder: Path) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    application = "pipeline.config.asgi:application"
    command = {
        "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "-v", "0", application],
        "uvicorn": ["-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", application],
    }[kind]
    options = connection.settings_dict
    environment = os.environ | {
        "DATABASE_URL": f"postgresql:///{options['NAME']}?user={options['USER']}&host={options['HOST']}",
        "STOKER_DATABASE_POOL": "4",
        "PYTHONWARNINGS": "default",
    }
    log = folder / f"{kind}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        until(lambda: _accepts(port) or process.poll() is not None, 60, f"{kind} to listen")
        assert process.poll() is None, log.read_text()
        yield Server(process, port)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    assert "Traceback" not in log.read_text(), log.read_text()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
