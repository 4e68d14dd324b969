"""Files in the three buckets (storage aliases), on local disk or in an S3-compatible store, and signed links to them.

Whatever the backend: a write is whole or absent, nothing is held in memory, and a link is good for one object, one verb
and a limited time. `datasets.files` serves the links of local files; S3 serves its own.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from django.core import signing
from django.core.files import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.urls import reverse

CHUNK = 1 << 18
LINK_HOURS = 24
INCOMING = ".incoming"  # beside the objects, so that the final rename stays on one file system
_STALE_SECONDS = 24 * 3600
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class StorageFull(Exception):
    """The disk or the quota is full; nothing of the file was kept."""


class TooLarge(Exception):
    """More bytes came than `limit`; nothing of the file was kept."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"More than {limit:,} bytes.")
        self.limit = limit


class WrongContent(Exception):
    """The bytes are not those announced; nothing of the file was kept."""


class LinkInvalid(Exception):
    """The link was forged, damaged, or made for another bucket or verb."""


class LinkExpired(LinkInvalid):
    pass


@dataclass(frozen=True)
class Stored:
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Link:
    """What a signed link of ours says; S3 links carry the same in their own way."""

    path: str
    verb: str
    filename: str = ""
    max_bytes: int = 0
    sha256: str = ""


def storage_of(alias: str) -> Storage:
    return storages[alias]


def is_local(alias: str) -> bool:
    return isinstance(storages[alias], FileSystemStorage)


def local_path(alias: str, path: str) -> Path:
    """Where a local object lies. Raises SuspiciousFileOperation for a path that leaves the bucket."""
    return Path(storages[alias].path(path))


def save(alias: str, path: str, chunks: Iterable[bytes], *, max_bytes: int = 0, sha256: str = "") -> Stored:
    """Write the chunks as one object, replacing it at once when all have come; on any failure nothing is left.

    Raises TooLarge beyond `max_bytes` (0: no limit), WrongContent when `sha256` is given and differs, StorageFull.
    """
    local = is_local(alias)
    folder = _incoming(Path(storages[alias].path(""))) if local else Path(tempfile.gettempdir())
    temporary: Path | None = None
    try:
        with disk_full_as_storage_full():
            handle, name = tempfile.mkstemp(prefix="incoming-", dir=folder)
            temporary = Path(name)
            with open(handle, "wb") as file:
                stored = _copy(chunks, file, max_bytes)
                if local:
                    file.flush()
                    os.fsync(file.fileno())
            if sha256 and stored.sha256 != sha256:
                raise WrongContent(f"The bytes have sha256 {stored.sha256}, announced was {sha256}.")
            if local:
                target = local_path(alias, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)
            else:
                with temporary.open("rb") as file_to_send:
                    _send(alias, path, file_to_send)
        return stored
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def open_from(alias: str, path: str, offset: int = 0) -> BinaryIO:
    """Open an object for reading from a byte offset, without fetching what stands before. Raises FileNotFoundError."""
    storage = cast(Any, storages[alias])
    if is_local(alias):
        file = Path(storage.path(path)).open("rb")
        file.seek(offset)
        return file
    with _store_errors():
        if offset >= storage.size(path):
            return io.BytesIO()
        body = storage.bucket.Object(_s3_key(alias, path)).get(Range=f"bytes={offset}-")["Body"]
    return cast(BinaryIO, io.BufferedReader(_RawBody(body), CHUNK))


def size_of(alias: str, path: str) -> int:
    """Raises FileNotFoundError."""
    with _store_errors():
        return storages[alias].size(path)


def sha256_of(alias: str, path: str) -> str:
    """Raises FileNotFoundError."""
    digest = hashlib.sha256()
    with open_from(alias, path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def remove(alias: str, *paths: str) -> None:
    """Objects that are already gone are no error."""
    for path in paths:
        with suppress(FileNotFoundError), _store_errors():
            storages[alias].delete(path)
        if is_local(alias):
            _remove_empty_folders(alias, local_path(alias, path).parent)


def remove_others(alias: str, folder: str, keep: Iterable[str] = ()) -> None:
    """Remove the objects directly in `folder` except those in `keep`."""
    kept = set(keep)
    with suppress(FileNotFoundError), _store_errors():
        _, names = storages[alias].listdir(folder)
        remove(alias, *(path for path in (f"{folder}/{name}" for name in names) if path not in kept))


def signed_url(
    alias: str, path: str, expires: timedelta = timedelta(hours=LINK_HOURS), filename: str | None = None
) -> str:
    """An absolute address from which anybody who has it may read this one object until it expires."""
    name = filename or posixpath.basename(path)
    if not is_local(alias):
        disposition = f'attachment; filename="{_ascii_name(name)}"'
        return cast(Any, storages[alias]).url(
            path,
            parameters={"ResponseContentDisposition": disposition},
            expire=int(expires.total_seconds()),
        )
    return _local_link(alias, expires, p=path, v="GET", n=name)


def signed_upload_url(
    alias: str, path: str, max_bytes: int, expires: timedelta = timedelta(hours=1), sha256: str = ""
) -> str:
    """An absolute address to which one object may be PUT, as often as needed, until it expires.

    On local disk the size and, where given, the sha256 are enforced while the bytes arrive. A presigned S3 link cannot
    limit the size: check `size_of` and `sha256_of` before the object is believed.
    """
    if not is_local(alias):
        storage = cast(Any, storages[alias])
        return storage.connection.meta.client.generate_presigned_url(
            "put_object",
            Params={"Bucket": storage.bucket.name, "Key": _s3_key(alias, path)},
            ExpiresIn=int(expires.total_seconds()),
        )
    return _local_link(alias, expires, p=path, v="PUT", m=max_bytes, s=sha256)


def read_link(alias: str, token: str, verb: str) -> Link:
    """Raise LinkExpired or LinkInvalid unless `token` was made for this bucket and this verb."""
    try:
        said = signing.loads(token, salt=_salt(alias))
    except signing.BadSignature as error:
        raise LinkInvalid("The link is damaged or was not made by this server.") from error
    if said["v"] != verb:
        raise LinkInvalid(f"The link is for {said['v']}, not for {verb}.")
    if said["e"] < time.time():
        raise LinkExpired("The link has expired.")
    return Link(said["p"], said["v"], said.get("n", ""), said.get("m", 0), said.get("s", ""))


@contextmanager
def disk_full_as_storage_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The server's disk is full; nothing was stored.") from error
        raise


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what boto3 raises into OSError, as a local disk would raise."""
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            raise FileNotFoundError(str(error)) from error
        raise OSError(str(error)) from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error


def _send(alias: str, path: str, file: BinaryIO) -> None:
    """Write an object of an S3 store; where the store would keep an old one beside it, the old one goes first."""
    storage = storages[alias]
    with _store_errors():
        if not getattr(storage, "file_overwrite", True) and storage.exists(path):
            storage.delete(path)
        storage.save(path, File(file, name=posixpath.basename(path)))


def _local_link(alias: str, expires: timedelta, **said: Any) -> str:
    said["e"] = int(time.time() + expires.total_seconds())
    token = signing.dumps(said, salt=_salt(alias))
    return settings.STOKER_PUBLIC_URL.rstrip("/") + reverse("signed-file", args=[alias, token])


def _salt(alias: str) -> str:
    return f"stoker.files.{alias}"


def _copy(chunks: Iterable[bytes], file: BinaryIO, max_bytes: int) -> Stored:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if max_bytes and size > max_bytes:
            raise TooLarge(max_bytes)
        digest.update(chunk)
        file.write(chunk)
    return Stored(size, digest.hexdigest())


def _incoming(bucket: Path) -> Path:
    """The folder for unfinished files; what a killed process left there is removed after a day."""
    folder = bucket / INCOMING
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.iterdir():
        with suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - _STALE_SECONDS:
                leftover.unlink()
    return folder


def _remove_empty_folders(alias: str, folder: Path) -> None:
    root = Path(storages[alias].path("")).resolve()
    while folder.resolve() != root and root in folder.resolve().parents:
        try:
            folder.rmdir()
        except OSError:  # not empty, or already gone
            return
        folder = folder.parent


def _s3_key(alias: str, path: str) -> str:
    return posixpath.join(cast(Any, storages[alias]).location, path).lstrip("/")


def _ascii_name(name: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)


class _RawBody(io.RawIOBase):
    """botocore's body as a raw stream, so that BufferedReader can cut it into lines of bounded length."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._body.close()
        super().close()
