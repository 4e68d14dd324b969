"""Runs the whole product on one machine: database, broker and all its processes, as one thing to start and stop."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from pipeline.config import playground
from pipeline.config.children import Child, Tell
from pipeline.config.embedded import Postgres, Service, Valkey
from pipeline.config.env import Env, Refused

ROOT = Path(__file__).resolve().parent.parent.parent
PREPARE_SECONDS = 300
READY_SECONDS = 60
GRACE_SECONDS = 10  # a worker may finish its task; whatever takes longer is done again by the next beat
SERVICE_LOOK_SECONDS = 2.0

DAPHNE = [
    "-m", "pipeline.config.web", "--verbosity", "0", "--no-server-name",
    "--websocket-max-message-size", "65536", "--websocket-max-frame-size", "65536",
    # The time a whole response may take, so it bounds the download of a large file, too.
    "--http-timeout", "900", "--application-close-timeout", "10",
]  # fmt: skip
UVICORN = ["-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--no-server-header", "--ws-max-size", "65536"]
APPLICATION = "pipeline.config.asgi:application"


class Stack:
    """The product on the folder `home`, answering on `host`:`port`.

    `tell(name, line)` gets every line that a process prints, on a thread of its own.
    `environment` (default: this process's) is what the processes get, with the place and address of this stack put in.
    Raises Refused, from `start`, with a sentence when the folder or the port is taken or a service does not come up.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int = 8000,
        host: str = "127.0.0.1",
        environment: Mapping[str, str] | None = None,
        tell: Tell | None = None,
    ) -> None:
        self.home = home
        self.port = port
        self.host = host
        self.environment = {
            **(os.environ if environment is None else environment),
            "STOKER_HOME": str(home),
            "HOST": host,
            "PORT": str(port),
            "DJANGO_SETTINGS_MODULE": "pipeline.config.settings",
            "PYTHONUNBUFFERED": "1",
        }
        self.tell: Tell = tell or (lambda name, line: None)
        self.logs = home / "logs"
        self.services: list[Service] = []
        self.children: dict[str, Child] = {}
        self._imitations: dict[str, list[str]] = {}
        self._lock: IO[str] | None = None
        self._socket: socket.socket | None = None
        self._keeper: threading.Thread | None = None
        self._stopping = threading.Event()
        self._hurry = threading.Event()

    @property
    def url(self) -> str:
        """Where this machine reaches the product. Not necessarily the address that others use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Start everything and return as soon as the processes are under way; `wait_ready` tells when they answer."""
        if self._keeper is not None:
            raise RuntimeError("This stack has been started before.")
        try:
            self._take_folder()
            self._take_port()
            self._imitations = playground.commands(self.environment)
            playground.mark(self.home, self.port if self._imitations else None)
            self._start_services()
            self._prepare()
            self._describe_children()
        except BaseException:
            self._let_go()
            raise
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)
        self._keeper.start()

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Return when the web part answers and sees its database. Raises Refused with its last lines otherwise."""
        deadline = time.monotonic() + timeout
        web = next(child for name, child in self.children.items() if name.startswith("web"))
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            if web.starts > 3 or time.monotonic() > deadline:
                raise Refused("The web part does not start:\n" + "\n".join(web.last_lines))
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop everything in order. Trainings on this machine go on and report when the product is back."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join()
        self._let_go()

    def hurry(self) -> None:
        """Do not wait for processes to finish what they do."""
        self._hurry.set()

    def pid(self, name: str) -> int | None:
        process = self.children[name].process
        return process.pid if process is not None and process.poll() is None else None

    def starts(self, name: str) -> int:
        """How often the process was started, the first time included."""
        return self.children[name].starts

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process, which is started again when it dies of it."""
        self.children[name].send(number)

    def manage(self, *arguments: str, timeout: float = PREPARE_SECONDS) -> str:
        """Run a `manage.py` command on this stack, return its output. Raises Refused with its words when it fails."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise Refused(f"manage.py {arguments[0]} failed:\n{(done.stderr or done.stdout).strip()}")
        return done.stdout

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # What start() does, in order

    def _take_folder(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.home / "stack.lock", "a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            where = self._lock.read().strip() or "another process"
            self._lock.close()
            self._lock = None
            raise Refused(
                f"Stoker already runs on {self.home} ({where}). Stop it first, or choose another folder "
                "with STOKER_HOME."
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"{self.url}, process {os.getpid()}\n")
        self._lock.flush()

    def _take_port(self) -> None:
        """Listen already now: a taken port is found before anything starts, and a restart of web refuses nobody."""
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        except OSError as error:
            raise Refused(f"HOST is {self.host!r}, which is no address of this machine: {error.strerror}.") from None
        # Processes of a supervisor that was killed a moment ago need a moment to notice it.
        deadline = time.monotonic() + 2
        while True:
            listener = socket.socket(family, kind, protocol)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(address)
                listener.listen(512)
                break
            except OSError as error:
                listener.close()
                if time.monotonic() > deadline:
                    raise Refused(
                        f"Port {self.port} on {self.host} cannot be used: {error.strerror}. "
                        "Stop the program that has it, or choose another port, as in: make run PORT=8001."
                    ) from None
                time.sleep(0.1)
        listener.set_inheritable(True)
        self._socket = listener

    def _start_services(self) -> None:
        env = Env(self.environment)
        if not env.is_set("DATABASE_URL"):
            self.services.append(Postgres(self.home / "postgres"))
        if not env.is_set("REDIS_URL"):
            self.services.append(Valkey(self.home / "valkey"))
        for service in self.services:
            service.attach()

    def _prepare(self) -> None:
        for line in self.manage("prepare").splitlines():
            self.tell("setup", line)

    def _describe_children(self) -> None:
        assert self._socket is not None
        env = Env(self.environment)
        web_processes = env.integer("STOKER_WEB_PROCESSES", 1, least=1, most=64)
        server = env.choice("STOKER_WEB_SERVER", "daphne", ("daphne", "uvicorn"))
        python = sys.executable
        web = [python, *(DAPHNE if server == "daphne" else UVICORN), "--fd", str(self._socket.fileno())]
        if env.flag("STOKER_TRUST_PROXY"):
            web.append("--proxy-headers")
        celery = [python, "-m", "celery", "--quiet", "--app", "celery_app"]
        for name, words in self._imitations.items():
            self._add(name, [python, *words])
        for number in range(1, web_processes + 1):
            self._add("web" if web_processes == 1 else f"web-{number}", [*web, APPLICATION])
        self._add("worker", [*celery, "worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"])
        self._add("beat", [*celery, "beat", "--loglevel", "INFO", "--pidfile", ""])
        self._add("reconcile", [python, str(ROOT / "manage.py"), "reconcile"])

    def _add(self, name: str, command: list[str]) -> None:
        assert self._socket is not None
        self.children[name] = Child(
            name,
            command,
            environment=self.environment,
            folder=ROOT,
            log=self.logs / f"{name}.log",
            tell=self.tell,
            keep_open=(self._socket.fileno(),) if name.startswith("web") else (),
        )

    # The keeper's thread

    def _keep(self) -> None:
        looked_at_services = time.monotonic()
        while not self._stopping.wait(0.1):
            for child in self.children.values():
                child.look()
            if time.monotonic() - looked_at_services > SERVICE_LOOK_SECONDS:
                looked_at_services = time.monotonic()
                self._revive_services()
        self._stop_children()

    def _revive_services(self) -> None:
        for service in self.services:
            if service.process() is None:
                self.tell("setup", f"{service.name} is gone; starting it again.")
                try:
                    service.ensure_running()
                except (Refused, OSError, subprocess.SubprocessError) as error:
                    self.tell("setup", str(error))

    def _stop_children(self) -> None:
        # Beat first: what it would still send, nobody would do.
        for name in sorted(
            self.children, key=lambda name: ("beat", "worker").index(name) if name in ("beat", "worker") else 2
        ):
            self.children[name].send(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        while not all(child.ended() for child in self.children.values()):
            if self._hurry.is_set() or time.monotonic() > deadline:
                for child in self.children.values():
                    child.send(signal.SIGKILL)
                deadline = float("inf")
            time.sleep(0.02)
        for child in self.children.values():
            child.close()

    def _let_go(self) -> None:
        for service in reversed(self.services):
            service.release()
        self.services = []
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._lock is not None:
            self._lock.truncate(0)
            self._lock.close()
            self._lock = None
