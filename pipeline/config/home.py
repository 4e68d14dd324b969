"""The folder that holds all state of an installation (STOKER_HOME), and the small files in it that are made once."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

# The shortest limit for the path of a Unix socket among the systems we run on (macOS), with room for a file name.
SOCKET_PATH_LIMIT = 103


def running_at(home: Path) -> str | None:
    """The address of the product that runs on `home` now, None when none does."""
    try:
        lock = open(home / "stack.lock")
    except FileNotFoundError:
        return None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read().partition(",")[0].strip() or None
    return None


def write_once(path: Path, text: str) -> str:
    """Return the content of `path`; make the file first, readable by its owner only, when it is not there.

    Two processes that start together agree: the file appears complete under its name, and only one of them makes it.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)
    return path.read_text().strip()


def secret_key(home: Path) -> str:
    return write_once(home / "secret_key", secrets.token_urlsafe(60))


def encryption_key(home: Path) -> str:
    """A key for AES-256, base64. Whoever has it and the database can read the stored provider keys."""
    return write_once(home / "encryption_key", base64.b64encode(secrets.token_bytes(32)).decode())


def installation(home: Path) -> str:
    """Eight hex digits that tell this installation's machines from those of others on the same provider account."""
    return write_once(home / "installation", secrets.token_hex(4))


def socket_folder(folder: Path, socket_name: str) -> Path:
    """Where a service with its data in `folder` puts its socket: there, or below /tmp when the path is too long."""
    if len(os.fsencode(folder / socket_name)) <= SOCKET_PATH_LIMIT:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path("/tmp") / f"stoker-{os.geteuid()}-{digest}"  # noqa: S108 - made with mode 0700 by the service's starter


def postgres_url(home: Path) -> str:
    """Address of the embedded PostgreSQL. It follows from the folder alone, so any process can know it."""
    return f"postgresql:///stoker?user=postgres&host={postgres_socket_folder(home)}"


def postgres_socket_folder(home: Path) -> Path:
    return socket_folder(home / "postgres", ".s.PGSQL.5432.lock")


def valkey_url(home: Path) -> str:
    return f"unix://{valkey_socket(home)}"


def valkey_socket(home: Path) -> Path:
    return socket_folder(home / "valkey", "valkey.sock") / "valkey.sock"


def redis_database(url: str, number: int) -> str:
    """The same server, another numbered database. Works for redis://, rediss:// and unix:// addresses."""
    if url.startswith("unix://"):
        return f"{url.partition('?')[0]}?db={number}"
    base, mark, options = url.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{number}{mark}{options}"


def celery_url(url: str, number: int) -> str:
    """The same as kombu spells it: a Unix socket is redis+socket:// with the database as `virtual_host`."""
    if url.startswith("unix://"):
        return f"redis+socket://{url.removeprefix('unix://').partition('?')[0]}?virtual_host={number}"
    return redis_database(url, number)


def replace_text(path: Path, text: str) -> None:
    """Write the file so that readers see either the old or the new content."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
