"""The measured product: its own stack on a folder of its own, a user of it, and ways in."""

from __future__ import annotations

import json
import os
import shlex
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from benchmarks.http import Connection
from pipeline.config import home
from pipeline.config.foreground import stopped_in_the_end
from pipeline.config.supervisor import Stack

T = TypeVar("T")

USER = "benchmark"
# Belong to another installation; every other variable of the product may be set, to compare.
DROPPED = (
    "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DATABASE_URL", "DEBUG", "HOST", "PORT", "REDIS_URL", "SECRET_KEY",
    "STOKER_HOME", "STOKER_PUBLIC_URL", "STOKER_STORAGE", "STOKER_TRUST_PROXY",
)  # fmt: skip
STARTED_FILE = "started"
# What stands for a training: it writes down when it began, and waits to be stopped.
PROGRAM = f"date +%s.%N > now && mv now {STARTED_FILE}; exec sleep 600"


class Product:
    """A running stack and the jobs that were made for it. `made` is what benchmarks.rows prints."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.home = stack.home
        self.port = stack.port
        self.database_url = home.postgres_url(stack.home)
        self.redis_url = home.redis_database(home.valkey_url(stack.home), 1)
        self.made: dict[str, Any] = {}
        self._next_fed = 0

    def make_rows(self, fed: int, started: int) -> None:
        code = f"from benchmarks.rows import make; make({USER!r}, {fed}, {started})"
        self.made = json.loads(self.stack.manage("shell", "--no-imports", "-c", code).strip().splitlines()[-1])

    def fed_jobs(self, count: int) -> list[dict[str, str]]:
        """Jobs in training that nothing was sent to yet: {"id", "token"}."""
        self._next_fed += count
        jobs: list[dict[str, str]] = self.made["fed"][self._next_fed - count : self._next_fed]
        if len(jobs) < count:
            raise ValueError(f"Only {len(self.made['fed'])} jobs were made, which is too few.")
        return jobs

    def api(self) -> Connection:
        return Connection(self.port, Authorization=f"Bearer {self.made['token']}")

    def database(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.database_url, autocommit=True)

    def session_cookie(self) -> str:
        """Sign in by the link, as a browser does, which works once; returns the Cookie header."""
        connection = Connection(self.port)
        try:
            answer = connection.expect(302, "GET", self.made["link"])
        finally:
            connection.close()
        return answer.headers["set-cookie"].partition(";")[0]

    def web_processes(self) -> list[int]:
        return [pid for name in self.stack.children if name.startswith("web") and (pid := self.stack.pid(name))]

    def database_process(self) -> list[int]:
        found = (service.process() for service in self.stack.services if service.name == "PostgreSQL")
        return [process.pid for process in found if process is not None]


@contextmanager
def running(say: Callable[[str], None]) -> Iterator[Product]:
    """The product on a folder that is removed in the end, answering on a free port."""
    with tempfile.TemporaryDirectory(prefix="stoker-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)  # PostgreSQL runs under an account of its own when this is root
        environment = {name: value for name, value in os.environ.items() if name not in DROPPED}
        environment |= {"STOKER_LOCAL_COMMAND": shlex.join(["/bin/sh", "-c", PROGRAM]), "STOKER_LOCAL_SLOTS": "1"}
        stack = Stack(Path(folder) / "home", port=free_port(), environment=environment)
        began = time.monotonic()
        with stopped_in_the_end(stack):
            stack.start()
            stack.wait_ready()
            say(f"The product runs after {time.monotonic() - began:.1f} s.")
            yield Product(stack)


def until(look: Callable[[], T | None], what: str, timeout: float = 60.0) -> T:
    """Call `look` until it returns something true, and return that."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise RuntimeError(f"Waited {timeout:g} s in vain for {what}.")
        time.sleep(0.01)
    return found


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
