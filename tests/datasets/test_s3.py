"""The same product on an S3-compatible store: upload, import, check, links, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from datasets import services, storage
from datasets.checking import runner
from tests.conftest import Person
from tests.datasets import fake_s3
from tests.datasets.files import chats, checked, stored

pytestmark = pytest.mark.django_db
BUCKETS = ("lora-datasets", "training-files", "artifacts")


@pytest.fixture
def s3(settings: Any) -> Iterator[fake_s3.FakeS3]:
    with fake_s3.running() as store:
        settings.STORAGES = {**settings.STORAGES, **store.settings(BUCKETS)}
        yield store


def test_dataset_lives_in_the_store(owner: Person, s3: fake_s3.FakeS3, django_capture_on_commit_callbacks: Any) -> None:
    content = chats(20)
    dataset = checked(owner.user, content)
    assert dataset.training_ready
    assert s3.objects[f"company-lora-datasets/{dataset.storage_path}"] == content
    with urlopen(services.link(dataset)) as response:
        assert response.read() == content
    with django_capture_on_commit_callbacks(execute=True):
        services.delete(dataset)
    assert s3.objects == {}


def test_check_goes_on_where_it_stopped_without_reading_again(owner: Person, s3: fake_s3.FakeS3) -> None:
    dataset = stored(owner.user, chats(10))
    while not runner.check(dataset.pk, seconds=0.0):
        pass
    dataset.refresh_from_db()
    assert (dataset.training_ready, dataset.row_count) == (True, 10)
    assert s3.ranges[0] == "bytes=0-"
    assert len(set(s3.ranges)) == 10


def test_import_and_its_link_use_the_other_bucket(owner: Person, s3: fake_s3.FakeS3) -> None:
    s3.objects["company-training-files/owner/rows.jsonl"] = chats(3)
    dataset = services.import_object(owner.user, "owner/rows.jsonl")
    assert runner.check(dataset.pk)
    address = urlsplit(services.link(dataset))
    assert address.path == "/company-training-files/owner/rows.jsonl"
    assert parse_qs(address.query)["X-Amz-Expires"] == ["86400"]
    assert parse_qs(address.query)["response-content-disposition"] == ['attachment; filename="rows.jsonl"']


def test_missing_object_and_store_that_is_down_are_told_apart(owner: Person, s3: fake_s3.FakeS3) -> None:
    with pytest.raises(services.Refused, match="There is no file"):
        services.import_object(owner.user, "owner/none.jsonl")
    with pytest.raises(FileNotFoundError):
        storage.sha256_of("artifacts", "none")


def test_store_that_is_down_postpones_the_check(owner: Person, s3: fake_s3.FakeS3, settings: Any) -> None:
    dataset = stored(owner.user, chats(3))
    broken = s3.settings(BUCKETS)
    for entry in broken.values():
        entry["OPTIONS"]["endpoint_url"] = "http://127.0.0.1:9"  # nobody listens there
    working, settings.STORAGES = settings.STORAGES, {**settings.STORAGES, **broken}
    assert not runner.check(dataset.pk)
    dataset.refresh_from_db()
    assert (dataset.status, dataset.check_state["failures"]) == ("checking", 1)
    answer = owner.api.get(f"/api/datasets/{dataset.pk}/rows/")
    assert answer.status_code == 503
    assert "cannot be read at the moment" in answer.content.decode()
    settings.STORAGES = working
    assert runner.check(dataset.pk)


def test_upload_link_takes_a_file(s3: fake_s3.FakeS3) -> None:
    from urllib.request import Request

    url = storage.signed_upload_url("artifacts", "jobs/1/adapter.zip", 1000, timedelta(hours=1))
    assert parse_qs(urlsplit(url).query)["X-Amz-Expires"] == ["3600"]
    with urlopen(Request(url, data=b"adapter", method="PUT")) as response:
        assert response.status == 200
    assert storage.size_of("artifacts", "jobs/1/adapter.zip") == 7


def test_links_are_made_without_asking_the_store(settings: Any) -> None:
    nowhere = fake_s3.FakeS3(url="https://s3.example.invalid")
    settings.STORAGES = {**settings.STORAGES, **nowhere.settings(BUCKETS)}
    for bucket in BUCKETS:
        address = urlsplit(storage.signed_url(bucket, "a/b.jsonl", timedelta(minutes=5), "ü.jsonl"))
        assert address.netloc == "s3.example.invalid"
        assert address.path == f"/company-{bucket}/a/b.jsonl"
        assert "X-Amz-Signature" in parse_qs(address.query)
