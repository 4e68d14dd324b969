"""REST interface of datasets: what the owner can do, and that nobody else can."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from datasets import storage
from datasets.models import Bucket, Dataset
from tests.conftest import Person
from tests.datasets.files import chats, checked, stored, upload
from tests.factories import make_job

pytestmark = pytest.mark.django_db
URL = "/api/datasets/"


def detail(dataset: Dataset, action: str = "") -> str:
    return f"{URL}{dataset.pk}/{action}"


def uploads() -> set[Path]:
    root = storage.local_path(Bucket.UPLOADS, "")
    return {path for path in root.rglob("*") if path.is_file()}


def put_in_bucket(path: str, content: bytes) -> None:
    storage.save(Bucket.BROUGHT_IN, path, [content])


def test_upload_stores_the_file_and_its_digest(owner: Person) -> None:
    content = chats(3)
    response = owner.api.post(URL, {"name": "Questions", "file": upload(content)}, format="multipart")
    assert response.status_code == 201, response.content
    body = response.json()
    assert body["name"] == "Questions"
    assert body["status"] == "uploaded"
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert body["size_bytes"] == len(content)
    assert body["storage_bucket"] == "lora-datasets"
    assert storage.local_path(Bucket.UPLOADS, body["storage_path"]).read_bytes() == content
    assert Dataset.objects.get(pk=body["id"]).next_check_at is not None


def test_upload_without_a_name_is_called_after_its_file(owner: Person) -> None:
    response = owner.api.post(URL, {"file": upload(chats(2), "../../etc/my rows.jsonl")}, format="multipart")
    assert response.json()["name"] == "my rows"
    assert response.json()["original_filename"] == "my rows.jsonl"


def test_upload_from_the_page_needs_the_csrf_token(owner: Person) -> None:
    from django.test import Client

    browser = Client(enforce_csrf_checks=True)
    browser.force_login(owner.user)
    assert browser.post(URL, {"file": upload(chats(2))}).status_code == 403
    browser.cookies[settings.CSRF_COOKIE_NAME] = token = "a" * 32
    accepted = browser.post(URL, {"file": upload(chats(2))}, headers={"X-CSRFToken": token})
    assert accepted.status_code == 201, accepted.content


@pytest.mark.parametrize(
    ("filename", "content", "sentence"),
    [
        ("rows.jsonl", b"", "The file is empty."),
        ("rows.jsonl.gz", b"\x1f\x8b\x08", "Compressed files are not taken."),
        ("rows.jsonl", b"\x1f\x8b\x08", "This is a gzip file."),
        ("rows.jsonl", b"PAR1....", "This is a Parquet file."),
        ("rows.csv", b"a,b", "must end in .jsonl, .json or .txt"),
    ],
)
def test_unusable_upload_is_refused_with_a_sentence(
    owner: Person, filename: str, content: bytes, sentence: str
) -> None:
    before = uploads()
    response = owner.api.post(URL, {"file": upload(content, filename)}, format="multipart")
    assert response.status_code == 400
    assert sentence in response.content.decode()
    assert not Dataset.objects.exists()
    assert uploads() == before


def test_refusal_is_problem_json_that_names_the_field(owner: Person) -> None:
    response = owner.api.post(URL, {"file": upload(b"a,b", "rows.csv")}, format="multipart")
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == 400
    assert [error["field"] for error in body["errors"]] == ["file"]
    assert body["errors"][0]["message"].startswith("The file name must end in .jsonl")


def test_upload_without_a_file_or_with_an_unknown_format_is_refused(owner: Person) -> None:
    assert "Choose a file." in owner.api.post(URL, {"name": "x"}, format="multipart").content.decode()
    response = owner.api.post(URL, {"file": upload(chats(2)), "format": "csv"}, format="multipart")
    assert response.status_code == 400


def test_upload_over_the_limit_is_refused_and_leaves_nothing(owner: Person, settings: Any) -> None:
    settings.STOKER_MAX_UPLOAD_MB = 1
    before = uploads()
    response = owner.api.post(URL, {"file": upload(b"x" * (1024 * 1024 + 1))}, format="multipart")
    assert response.status_code == 413
    assert "the limit of this server" in response.content.decode()
    assert uploads() == before


def test_import_takes_a_file_of_the_bucket_where_it_lies(owner: Person) -> None:
    content = chats(4)
    put_in_bucket("owner/deep/rows.jsonl", content)
    response = owner.api.post(f"{URL}import/", {"path": "owner/deep/rows.jsonl"}, format="json")
    assert response.status_code == 201, response.content
    body = response.json()
    assert (body["storage_bucket"], body["storage_path"]) == ("training-files", "owner/deep/rows.jsonl")
    assert body["sha256"] == hashlib.sha256(content).hexdigest()
    assert body["name"] == "rows"
    again = owner.api.post(f"{URL}import/", {"path": "owner/deep/rows.jsonl"}, format="json")
    assert again.status_code == 400
    assert "already here as “rows”" in again.content.decode()


def test_shared_file_may_be_brought_in_by_several_people(owner: Person, stranger: Person) -> None:
    put_in_bucket("shared/common.jsonl", chats(2))
    for person in (owner, stranger):
        response = person.api.post(f"{URL}import/", {"path": "shared/common.jsonl"}, format="json")
        assert response.status_code == 201, response.content


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"path": "owner/none.jsonl"}, "There is no file"),
        ({"path": "stranger/rows.jsonl"}, "must begin with"),
        ({"path": "owner/../stranger/rows.jsonl"}, "without empty, . or .. parts"),
        ({"path": "/etc/passwd"}, "without empty, . or .. parts"),
        ({"path": "owner/rows.jsonl.gz"}, "Compressed files are not taken."),
        ({"path": "owner/rows.jsonl", "bucket": "artifacts"}, "can be brought in from the bucket"),
        ({"path": "owner/empty.jsonl"}, "The file is empty."),
        ({}, "required"),
    ],
)
def test_import_that_cannot_be_done_is_refused(owner: Person, given: dict[str, str], sentence: str) -> None:
    put_in_bucket("stranger/rows.jsonl", chats(2))
    put_in_bucket("owner/empty.jsonl", b"")
    response = owner.api.post(f"{URL}import/", given, format="json")
    assert response.status_code == 400
    assert sentence in response.content.decode()


def test_list_is_filtered_searched_ordered_and_paginated(owner: Person, stranger: Person) -> None:
    good = checked(owner.user, chats(3), "alpha")
    checked(owner.user, b"broken\n", "beta")
    stored(stranger.user, chats(2), "theirs")

    def names(query: str) -> list[str]:
        return [row["name"] for row in owner.api.get(URL + query).json()["results"]]

    assert names("?ordering=name") == ["alpha", "beta"]
    assert names("") == ["beta", "alpha"]
    assert names("?status=ready") == ["alpha"]
    assert names("?training_ready=false") == ["beta"]
    assert names("?search=ALP") == ["alpha"]
    assert names("?ordering=name&page_size=1&page=2") == ["beta"]
    assert owner.api.get(URL).json()["count"] == 2
    assert owner.api.get(f"{URL}?status=nonsense").status_code == 400
    assert owner.api.get(f"{URL}?validation_for={good.pk}").json()["count"] == 0


def test_list_asks_the_database_equally_often_for_one_and_for_many(owner: Person) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert owner.api.get(URL).status_code == 200
        return len(captured)

    training = stored(owner.user, chats(2))
    one = queries()
    for _ in range(10):
        stored(owner.user, chats(2), validation_for=training)
    assert queries() == one


def test_detail_holds_the_report(owner: Person) -> None:
    dataset = checked(owner.user, chats(3))
    body = owner.api.get(detail(dataset)).json()
    assert body["training_ready"] is True
    assert body["report"]["rows"] == 3
    assert body["status_label"] == "Ready"


def test_rename_and_hold_out(owner: Person, stranger: Person) -> None:
    training, held_out = checked(owner.user, chats(3)), checked(owner.user, chats(2))
    response = owner.api.patch(
        detail(held_out), {"name": " New  name ", "validation_for": str(training.pk)}, format="json"
    )
    assert response.status_code == 200, response.content
    assert response.json()["name"] == "New name"
    assert response.json()["validation_for"] == str(training.pk)
    assert response.json()["status"] == "uploaded"  # checked again, now for overlap
    assert owner.api.patch(detail(training), {"name": " "}, format="json").status_code == 400
    for other in (training.pk, uuid.uuid4(), stored(stranger.user, chats(2)).pk, held_out.pk):
        refused = owner.api.patch(detail(training), {"validation_for": str(other)}, format="json")
        assert refused.status_code == 400, other
    freed = owner.api.patch(detail(held_out), {"validation_for": None}, format="json")
    assert freed.json()["validation_for"] is None


def test_fields_that_the_server_sets_cannot_be_patched(owner: Person) -> None:
    dataset = stored(owner.user, b"broken\n")
    wished = {"training_ready": True, "status": "ready", "storage_path": "../x", "size_bytes": 1}
    owner.api.patch(detail(dataset), wished, format="json")
    again = Dataset.objects.get(pk=dataset.pk)
    assert (again.training_ready, again.status, again.storage_path) == (False, "uploaded", dataset.storage_path)


def test_delete_removes_the_file_after_the_row(owner: Person, django_capture_on_commit_callbacks: Any) -> None:
    before = uploads()
    dataset = checked(owner.user, chats(3))
    assert len(uploads() - before) == 2  # the file, and the digests of its rows
    with django_capture_on_commit_callbacks(execute=True):
        assert owner.api.delete(detail(dataset)).status_code == 204
    assert uploads() == before
    assert owner.api.get(detail(dataset)).status_code == 404


def test_delete_leaves_a_file_that_was_brought_in(owner: Person, django_capture_on_commit_callbacks: Any) -> None:
    put_in_bucket("owner/keep.jsonl", chats(2))
    created = owner.api.post(f"{URL}import/", {"path": "owner/keep.jsonl"}, format="json").json()
    with django_capture_on_commit_callbacks(execute=True):
        assert owner.api.delete(f"{URL}{created['id']}/").status_code == 204
    assert storage.size_of(Bucket.BROUGHT_IN, "owner/keep.jsonl")


def test_dataset_of_a_job_cannot_be_deleted(owner: Person) -> None:
    dataset = checked(owner.user, chats(3), "Used")
    make_job(owner.user, dataset=dataset, name="Holder", provider="local")
    response = owner.api.delete(detail(dataset))
    assert response.status_code == 409, response.content
    assert (response.json()["code"], response["Content-Type"]) == ("in_use", "application/problem+json")
    assert response.json()["detail"].startswith("“Used” is used by “Holder”.")
    assert Dataset.objects.filter(pk=dataset.pk).exists()


def test_rows_are_shown_as_the_model_will_see_them(owner: Person) -> None:
    row = b'{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}\n'
    dataset = stored(owner.user, row + b"\n" + b"broken\n" + row)
    body = owner.api.get(detail(dataset, "rows/")).json()
    assert [shown["line"] for shown in body["rows"]] == [1, 3, 4]
    assert body["rows"][0]["turns"] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert body["rows"][1]["problems"][0]["code"] == "json"
    assert body["next_offset"] is None


def test_rows_are_paged_by_line(owner: Person) -> None:
    dataset = checked(owner.user, chats(3_000))
    body = owner.api.get(detail(dataset, "rows/?offset=2500&limit=3")).json()
    assert [shown["line"] for shown in body["rows"]] == [2501, 2502, 2503]
    assert body["rows"][0]["turns"][0]["content"] == "question 2500"
    assert body["next_offset"] == 2503
    assert body["lines"] == 3_000
    assert owner.api.get(detail(dataset, "rows/?offset=5000")).json()["rows"] == []
    for query in ("?offset=-1", "?limit=0", "?limit=101", "?offset=x"):
        assert owner.api.get(detail(dataset, f"rows/{query}")).status_code == 400


def test_check_again_starts_from_the_beginning(owner: Person) -> None:
    put_in_bucket("owner/again.jsonl", b"broken\n")
    created = owner.api.post(f"{URL}import/", {"path": "owner/again.jsonl"}, format="json").json()
    put_in_bucket("owner/again.jsonl", chats(2))
    response = owner.api.post(f"{URL}{created['id']}/check/")
    assert response.status_code == 202
    assert response.json()["status"] == "uploaded"
    assert response.json()["size_bytes"] == len(chats(2))
    assert response.json()["sha256"] == hashlib.sha256(chats(2)).hexdigest()


def test_link_is_signed_and_lasts_a_day(owner: Person) -> None:
    body = owner.api.post(detail(stored(owner.user, chats(2)), "link/")).json()
    assert body["url"].startswith(f"{settings.STOKER_PUBLIC_URL}/files/lora-datasets/")
    assert body["expires_at"]


ENDPOINTS = [
    ("get", ""),
    ("patch", ""),
    ("delete", ""),
    ("get", "rows/"),
    ("post", "check/"),
    ("post", "link/"),
]


@pytest.mark.parametrize(("method", "action"), ENDPOINTS)
def test_dataset_is_there_for_its_owner_only(
    owner: Person, stranger: Person, signed_out: Person, method: str, action: str
) -> None:
    dataset = stored(owner.user, chats(2))
    assert getattr(stranger.api, method)(detail(dataset, action)).status_code == 404
    assert getattr(signed_out.api, method)(detail(dataset, action)).status_code in (401, 403)
    assert getattr(owner.api, method)(detail(dataset, action)).status_code in (200, 202, 204)


def test_lists_and_uploads_are_for_people_who_signed_in(owner: Person, stranger: Person, signed_out: Person) -> None:
    stored(owner.user, chats(2))
    assert stranger.api.get(URL).json()["count"] == 0
    before = uploads()
    for method, url in (("get", URL), ("post", URL), ("post", f"{URL}import/")):
        assert getattr(signed_out.api, method)(url).status_code in (401, 403)
    assert signed_out.api.post(URL, {"file": upload(chats(2))}, format="multipart").status_code in (401, 403)
    assert uploads() == before


def test_an_id_that_is_none_is_not_found(owner: Person) -> None:
    for word in ("7", "nonsense", "0" * 36, str(uuid.uuid4())):
        assert owner.api.get(f"{URL}{word}/").status_code == 404
