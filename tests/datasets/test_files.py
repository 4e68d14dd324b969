"""Signed links to local files: one object, one verb, a limited time."""

from __future__ import annotations

import hashlib
import resource
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.test import AsyncClient, Client

from datasets import storage
from datasets.models import Bucket
from tests.conftest import Person
from tests.datasets.files import upload

CONTENT = bytes(range(256)) * 4
BUCKETS = ("lora-datasets", "training-files", "artifacts")


@pytest.fixture
def path() -> str:
    for bucket in BUCKETS:
        storage.save(bucket, "folder/file.jsonl", [CONTENT, bucket.encode()])
    return "folder/file.jsonl"


def address(url: str) -> str:
    return urlsplit(url).path


def read(url: str, **headers: str) -> tuple[int, bytes, Any]:
    response = Client().get(address(url), headers=headers)
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return response.status_code, body, response


@pytest.mark.parametrize("bucket", BUCKETS)
def test_link_serves_the_object_of_its_bucket(path: str, bucket: str) -> None:
    status, body, response = read(storage.signed_url(bucket, path, filename="Rows ü.jsonl"))
    assert (status, body) == (200, CONTENT + bucket.encode())
    assert response["Content-Disposition"].startswith("attachment; filename")
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Length"] == str(len(body))


async def test_link_is_served_in_pieces_under_asgi(path: str) -> None:
    response = await AsyncClient().get(address(storage.signed_url("artifacts", path)))
    assert response.is_async
    assert b"".join([chunk async for chunk in response.streaming_content]) == CONTENT + b"artifacts"
    response.close()


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-5", -5, None), ("bytes=1000-999999", 1000, None)],
)
def test_range_is_answered_with_a_part(path: str, wanted: str, start: int, end: int | None) -> None:
    whole = CONTENT + b"artifacts"
    status, body, response = read(storage.signed_url("artifacts", path), Range=wanted)
    assert (status, body) == (206, whole[start:end])
    first = start if start >= 0 else len(whole) + start
    assert response["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"


@pytest.mark.parametrize("wanted", ["bytes=5-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "nonsense"])
def test_range_that_makes_no_sense_is_ignored(path: str, wanted: str) -> None:
    assert read(storage.signed_url("artifacts", path), Range=wanted)[0] == 200


def test_range_outside_the_file_is_refused(path: str) -> None:
    status, _, response = read(storage.signed_url("artifacts", path), Range="bytes=999999-")
    assert status == 416
    assert response["Content-Range"] == f"bytes */{len(CONTENT) + 9}"


def test_range_of_a_file_that_changed_gets_the_whole(path: str) -> None:
    url = storage.signed_url("artifacts", path)
    etag = read(url)[2]["ETag"]
    assert read(url, Range="bytes=0-1", **{"If-Range": etag})[0] == 206
    assert read(url, Range="bytes=0-1", **{"If-Range": '"old"'})[0] == 200


def test_head_tells_the_size_without_the_bytes(path: str) -> None:
    response = Client().head(address(storage.signed_url("artifacts", path)))
    assert response.status_code == 200
    assert response["Content-Length"] == str(len(CONTENT) + 9)


def test_expired_link_is_refused_with_a_sentence(path: str) -> None:
    status, body, response = read(storage.signed_url("artifacts", path, timedelta(seconds=-1)))
    assert status == 403
    assert response["Content-Type"] == "application/problem+json"
    assert b"This link has expired. Ask for a new one." in body
    assert response.json()["code"] == "link_expired"


def test_forged_link_and_link_of_another_bucket_are_refused(path: str) -> None:
    good = address(storage.signed_url("artifacts", path))
    other_bucket = good.replace("artifacts", "lora-datasets")
    damaged = good[:-1] + ("A" if good[-1] != "A" else "B")
    other = address(storage.signed_url("artifacts", "folder/other.jsonl")).rsplit("/", 1)[1]
    mixed = good.rsplit("/", 1)[0] + "/" + other.split(":")[0] + ":" + good.split(":", 1)[1]
    for url in (other_bucket, damaged, mixed, "/files/artifacts/nonsense", "/files/nowhere/x:y:z"):
        response = Client().get(url)
        assert response.status_code == 403, url
        assert response.json()["code"] == "link_invalid"


def test_link_is_good_for_its_verb_only(path: str) -> None:
    to_read = address(storage.signed_url("artifacts", path))
    to_write = address(storage.signed_upload_url("artifacts", path, 100))
    assert Client().put(to_read, b"x", content_type="application/zip").status_code == 403
    assert Client().get(to_write).status_code == 403
    assert Client().post(to_write, b"x", content_type="application/zip").status_code == 405
    assert Client().delete(to_read).status_code == 405


def test_link_to_a_file_that_went_away_or_lies_outside_is_not_found(path: str) -> None:
    for lost in ("folder/none", "../secret_key", "/etc/passwd", "folder"):
        assert read(storage.signed_url("artifacts", lost))[0] == 404, lost


def put(url: str, content: bytes) -> Any:
    return Client(enforce_csrf_checks=True).put(address(url), content, content_type="application/zip")


def test_upload_link_stores_one_object_as_often_as_asked() -> None:
    url = storage.signed_upload_url("artifacts", "jobs/1/adapter.zip", 1000)
    for content in (b"first", b"second"):
        response = put(url, content)
        assert response.status_code == 200
        assert response.json() == {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert storage.sha256_of("artifacts", "jobs/1/adapter.zip") == hashlib.sha256(content).hexdigest()


def test_upload_link_with_a_digest_takes_nothing_else() -> None:
    url = storage.signed_upload_url("artifacts", "jobs/2/a.zip", 1000, sha256=hashlib.sha256(b"right").hexdigest())
    assert put(url, b"right").status_code == 200
    wrong = put(url, b"wrong")
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_content")
    assert storage.sha256_of("artifacts", "jobs/2/a.zip") == hashlib.sha256(b"right").hexdigest()


def test_upload_link_refuses_more_than_its_size() -> None:
    url = storage.signed_upload_url("artifacts", "jobs/3/a.zip", 10)
    assert put(url, b"x" * 11).status_code == 413
    expired = storage.signed_upload_url("artifacts", "jobs/3/a.zip", 10, timedelta(seconds=-1))
    assert put(expired, b"x").status_code == 403
    with pytest.raises(FileNotFoundError):
        storage.size_of("artifacts", "jobs/3/a.zip")


def files_of(bucket: str) -> set[Path]:
    return {path for path in storage.local_path(bucket, "").rglob("*") if path.is_file()}


def test_write_that_breaks_off_leaves_nothing_and_keeps_the_old_object(path: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    before = files_of("artifacts")
    with pytest.raises(ConnectionResetError):
        storage.save("artifacts", path, chunks())
    assert files_of("artifacts") == before
    assert storage.size_of("artifacts", path) == len(CONTENT) + 9


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Lets no file of this process grow beyond 1 MB, which the kernel reports as it does a full disk."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.django_db
def test_full_disk_is_said_so_and_nothing_is_left(owner: Person, full_disk: None) -> None:
    before = files_of(Bucket.UPLOADS)
    response = owner.api.post("/api/datasets/", {"file": upload(b"x" * 3_000_000)}, format="multipart")
    assert not list(settings.FILE_UPLOAD_TEMP_DIR.iterdir())
    assert response.status_code == 507
    assert "The server's disk is full; nothing was stored." in response.content.decode()
    assert files_of(Bucket.UPLOADS) == before


def test_full_disk_refuses_an_artifact_with_a_sentence(full_disk: None) -> None:
    before = files_of("artifacts")
    response = put(storage.signed_upload_url("artifacts", "jobs/4/a.zip", 9_000_000), b"x" * 3_000_000)
    assert (response.status_code, response.json()["code"]) == (507, "storage_full")
    assert files_of("artifacts") == before
