"""What people do with datasets. Each function checks, stores, and leaves the slow work to the check task."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from datasets import storage
from datasets.checking import runner
from datasets.models import Bucket, Dataset, Format

logger = logging.getLogger(__name__)

EXTENSIONS = (".jsonl", ".json", ".txt")
SHARED_FOLDER = "shared"
LINK_LIFETIME = timedelta(hours=storage.LINK_HOURS)
_MAGIC = (
    (b"\x1f\x8b", "gzip file"),
    (b"PK\x03\x04", "zip file"),
    (b"PAR1", "Parquet file"),
    (b"ARROW1", "Arrow file"),
    (b"\x28\xb5\x2f\xfd", "zstd file"),
    (b"BZh", "bzip2 file"),
    (b"SQLite", "SQLite database"),
)


class Refused(ValueError):
    """A sentence for the person who asked: what is wrong, where (`field`), and the HTTP status that fits."""

    def __init__(self, message: str, *, field: str = "", code: str = "invalid", status: int = 400) -> None:
        super().__init__(message)
        self.message, self.field, self.code, self.status = message, field, code, status


def max_bytes() -> int:
    return settings.STOKER_MAX_UPLOAD_MB * 1024 * 1024


def create_from_upload(
    owner: AbstractBaseUser,
    file: UploadedFile,
    name: str = "",
    given_format: str = "",
    validation_for: Dataset | None = None,
) -> Dataset:
    """Store an uploaded file and have it checked. Raises Refused; then nothing is left behind."""
    dataset = store_upload(owner, file, name, given_format, validation_for)
    with file_removed_on_failure(dataset):
        return insert(dataset)


def store_upload(
    owner: AbstractBaseUser,
    file: UploadedFile,
    name: str = "",
    given_format: str = "",
    validation_for: Dataset | None = None,
) -> Dataset:
    """The first half: the file is stored, the row is not. `insert` follows, within `file_removed_on_failure`."""
    limit = max_bytes()
    if file.size is not None and file.size > limit:
        raise _too_large(limit)
    return _store(owner, file.chunks(storage.CHUNK), file.name or "", name, given_format, validation_for)


def create_from_path(
    owner: AbstractBaseUser, path: Path, name: str = "", given_format: str = "", validation_for: Dataset | None = None
) -> Dataset:
    """Store a copy of a file of this machine; for commands, never for a path that a request names."""
    with path.open("rb") as file:
        chunks = iter(lambda: file.read(storage.CHUNK), b"")
        return create_from_chunks(owner, chunks, path.name, name, given_format, validation_for)


def create_from_chunks(
    owner: AbstractBaseUser,
    chunks: Iterable[bytes],
    filename: str,
    name: str = "",
    given_format: str = "",
    validation_for: Dataset | None = None,
) -> Dataset:
    """Raises Refused; then nothing is left behind."""
    dataset = _store(owner, chunks, filename, name, given_format, validation_for)
    with file_removed_on_failure(dataset):
        return insert(dataset)


@contextmanager
def file_removed_on_failure(dataset: Dataset) -> Iterator[None]:
    """A file that was uploaded goes again when the block ends with an exception. Others are not ours to remove."""
    try:
        yield
    except BaseException:
        if dataset.storage_bucket == Bucket.UPLOADS:
            storage.remove(Bucket.UPLOADS, dataset.storage_path)
        raise


def insert(dataset: Dataset) -> Dataset:
    """Put in the row of a dataset whose file is stored, and have it checked. Raises Refused."""
    try:
        return _insert(dataset)
    except IntegrityError:
        _refuse_known(dataset)
        raise


def _store(
    owner: AbstractBaseUser,
    chunks: Iterable[bytes],
    filename: str,
    name: str,
    given_format: str,
    validation_for: Dataset | None,
) -> Dataset:
    filename = PurePosixPath(filename.replace("\\", "/")).name
    checked = {
        "name": clean_name(name, filename),
        "given_format": _clean_format(given_format),
        "validation_for": _clean_validation_for(owner, validation_for),
    }
    _check_extension(filename)
    limit = max_bytes()
    dataset = Dataset(id=uuid.uuid4(), owner_id=owner.pk, original_filename=_printable(filename)[:255], **checked)
    dataset.storage_bucket, dataset.storage_path = Bucket.UPLOADS, f"{owner.pk}/{dataset.pk}.jsonl"
    try:
        stored = storage.save(Bucket.UPLOADS, dataset.storage_path, _not_empty(chunks), max_bytes=limit)
    except storage.TooLarge:
        raise _too_large(limit) from None
    except storage.StorageFull as error:
        raise disk_full() from error
    dataset.size_bytes, dataset.sha256 = stored.size_bytes, stored.sha256
    return dataset


def import_object(
    owner: AbstractBaseUser,
    path: str,
    name: str = "",
    bucket: str = Bucket.BROUGHT_IN,
    given_format: str = "",
    validation_for: Dataset | None = None,
) -> Dataset:
    """Use a file that already lies in the bucket for files from elsewhere. The file stays where it is."""
    return insert(measured_object(owner, path, name, bucket, given_format, validation_for))


def measured_object(
    owner: AbstractBaseUser,
    path: str,
    name: str = "",
    bucket: str = Bucket.BROUGHT_IN,
    given_format: str = "",
    validation_for: Dataset | None = None,
) -> Dataset:
    """The first half: the object was looked at, the row is not there yet. `insert` follows. Raises Refused."""
    if bucket != Bucket.BROUGHT_IN:
        raise Refused(f'Files can be brought in from the bucket "{Bucket.BROUGHT_IN}" only.', field="bucket")
    _check_path(owner, path)
    _check_extension(path, field="path")
    dataset = Dataset(
        owner_id=owner.pk,
        name=clean_name(name, path),
        given_format=_clean_format(given_format),
        validation_for=_clean_validation_for(owner, validation_for),
        storage_bucket=bucket,
        storage_path=path,
        original_filename=PurePosixPath(path).name[:255],
    )
    _refuse_known(dataset)
    _measure(dataset)
    return dataset


def check_again(dataset: Dataset) -> Dataset:
    """Check from the first line. A file brought in from elsewhere may have changed, so it is measured anew."""
    if dataset.storage_bucket == Bucket.BROUGHT_IN:
        _measure(dataset)
    with transaction.atomic():
        Dataset.objects.filter(pk=dataset.pk).update(
            size_bytes=dataset.size_bytes, sha256=dataset.sha256, training_ready=False
        )
        runner.reset(dataset)
    dataset.refresh_from_db()
    return dataset


def rename(dataset: Dataset, name: str) -> None:
    dataset.name = clean_name(name, "")
    dataset.save(update_fields=["name"])


def set_validation_for(dataset: Dataset, training: Dataset | None) -> None:
    """Say which dataset this one is held out for; the check then looks for rows that stand in both."""
    if training and training.pk == dataset.pk:
        raise Refused("A dataset cannot be held out for itself.", field="validation_for")
    if training and dataset.validation_sets.exists():
        raise Refused(
            "Other datasets are held out for this one, so it cannot be a validation set itself.", field="validation_for"
        )
    cleaned = _clean_validation_for(dataset.owner, training)
    if (cleaned and cleaned.pk) == dataset.validation_for_id:
        return
    with transaction.atomic():
        dataset.validation_for = cleaned
        dataset.save(update_fields=["validation_for"])
        if cleaned:
            runner.reset(dataset)
    dataset.refresh_from_db()


def delete(dataset: Dataset) -> None:
    """Delete the row, and the file when the row is gone for good. Raises Refused when a job holds on to it."""
    try:
        with transaction.atomic():
            dataset.delete()
    except ProtectedError as error:
        holders = list(error.protected_objects)
        names = " and ".join(f"“{holder}”" for holder in holders[:2])
        more = f" and {len(holders) - 2} more" if len(holders) > 2 else ""
        raise Refused(
            f"“{dataset.name}” is used by {names}{more}. Delete what uses it first.", code="in_use", status=409
        ) from error


def link(dataset: Dataset, expires: timedelta = LINK_LIFETIME) -> str:
    """A signed address of the file, from the bucket it lies in."""
    filename = dataset.original_filename or f"{dataset.pk}.jsonl"
    return storage.signed_url(dataset.storage_bucket, dataset.storage_path, expires, filename)


def clean_name(name: str, filename: str) -> str:
    """Raises Refused. A missing name is taken from the file's."""
    name = " ".join(_printable(name).split()) or _printable(PurePosixPath(filename).stem).strip()
    if not name:
        raise Refused("Give the dataset a name.", field="name", code="required")
    if len(name) > 200:
        raise Refused(f"The name has {len(name)} characters; 200 are allowed.", field="name")
    return name


def disk_full() -> Refused:
    return Refused(
        "The server's disk is full; nothing was stored. Tell the operator and try again.",
        field="file",
        code="storage_full",
        status=507,
    )


def store_down() -> Refused:
    return Refused("The bucket cannot be read at the moment. Try again later.", code="storage", status=503)


def _insert(dataset: Dataset) -> Dataset:
    with transaction.atomic():
        dataset.save(force_insert=True)
        runner.reset(dataset)
    dataset.refresh_from_db()
    return dataset


def _measure(dataset: Dataset) -> None:
    """Read the whole object once for its size and sha256. Raises Refused."""
    alias, path = dataset.storage_bucket, dataset.storage_path
    try:
        size = storage.size_of(alias, path)
        if size > max_bytes():
            raise _too_large(max_bytes(), field="path")
        with storage.open_from(alias, path) as file:
            _refuse_magic(file.read(8), field="path")
        dataset.size_bytes, dataset.sha256 = size, storage.sha256_of(alias, path)
    except (FileNotFoundError, IsADirectoryError):
        raise Refused(f'There is no file "{path}" in "{alias}".', field="path", code="not_found") from None
    except OSError as error:
        logger.warning("Reading %s of %s failed: %s", path, alias, error)
        raise store_down() from error


def _check_path(owner: AbstractBaseUser, path: str) -> None:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or not path.isprintable() or "\\" in path or len(path) > 500:
        raise Refused("Give the path as folder/file.jsonl, without empty, . or .. parts.", field="path")
    allowed = (owner.get_username(), SHARED_FOLDER)
    if len(parts) < 2 or parts[0] not in allowed:
        raise Refused(f'The path must begin with "{allowed[0]}/" or "{allowed[1]}/".', field="path", code="forbidden")


def _check_extension(filename: str, field: str = "file") -> None:
    lower = filename.lower()
    if lower.endswith((".gz", ".zip", ".zst", ".bz2", ".xz")):
        raise Refused("Compressed files are not taken. Unpack the file and upload the .jsonl.", field=field)
    if not lower.endswith(EXTENSIONS):
        raise Refused("The file name must end in .jsonl, .json or .txt, with one JSON object per line.", field=field)


def _clean_format(given: str) -> str:
    if given and given not in Format.values:
        raise Refused(f'"{given[:40]}" is not a format; use one of {", ".join(Format.values)}.', field="format")
    return given


def _clean_validation_for(owner: AbstractBaseUser, training: Dataset | None) -> Dataset | None:
    if training is None:
        return None
    if training.owner_id != owner.pk:
        raise Refused("There is no such dataset.", field="validation_for", code="does_not_exist")
    if training.validation_for_id:
        raise Refused(f"“{training.name}” is a validation set itself.", field="validation_for")
    return training


def _not_empty(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Look at the first bytes before anything is written."""
    rest = iter(chunks)
    first = next((chunk for chunk in rest if chunk), b"")
    if not first:
        raise Refused("The file is empty.", field="file", code="empty")
    _refuse_magic(first)
    return chain([first], rest)


def _refuse_magic(first: bytes, field: str = "file") -> None:
    if not first:
        raise Refused("The file is empty.", field=field, code="empty")
    for magic, what in _MAGIC:
        if first.startswith(magic):
            raise Refused(f"This is a {what}. Unpack or convert it to one JSON object per line.", field=field)


def _too_large(limit: int, field: str = "file") -> Refused:
    return Refused(
        f"The file is larger than {limit / 1024**3:,.3g} GiB, the limit of this server.",
        field=field,
        code="too_large",
        status=413,
    )


def _refuse_known(dataset: Dataset) -> None:
    """Raise Refused when the owner has a dataset of this file."""
    path = dataset.storage_path
    same = Dataset.objects.filter(owner_id=dataset.owner_id, storage_bucket=dataset.storage_bucket, storage_path=path)
    if existing := same.first():
        message = f'"{path}" is already here as “{existing.name}”. Check that one again.'
        raise Refused(message, field="path", code="exists") from None


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())
