"""Idempotency-Key: whatever is sent again, at once or after a crash, is made once and answered the same."""

from __future__ import annotations

import gc
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.db.models.functions import Now
from rest_framework.test import APIClient

from datasets.models import Dataset
from pipeline import killpoints
from pipeline.models import AnsweredRequest, Job, JobEvent
from pipeline.services.forgetting import forget_due
from tests.conftest import Person
from tests.factories import make_dataset, make_job, make_user
from tests.waiting import until

ROWS = b'{"prompt": "a", "completion": "b"}\n' * 3


def create(person: Person, body: Any, key: str = "k1") -> Any:
    return person.api.post("/api/jobs/", body, HTTP_IDEMPOTENCY_KEY=key)


def test_the_same_request_again_gets_the_same_answer_and_makes_nothing(owner, job_body):
    first, again = create(owner, job_body), create(owner, dict(reversed(job_body.items())))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Location"] == first["Location"] == f"/api/jobs/{first.json()['id']}/"
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Job.objects.count() == 1


def test_without_a_key_each_request_makes_one(owner, job_body):
    assert owner.api.post("/api/jobs/", job_body).json()["id"] != owner.api.post("/api/jobs/", job_body).json()["id"]
    assert not AnsweredRequest.objects.exists()


def test_another_key_makes_another(owner, job_body):
    assert create(owner, job_body, "k1").json()["id"] != create(owner, job_body, "k2").json()["id"]


def test_the_same_key_with_another_body_is_refused_with_a_sentence(owner, job_body):
    create(owner, job_body)
    answer = create(owner, job_body | {"name": "second"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_key_reused"
    assert "Take a new one" in answer.json()["detail"]
    assert Job.objects.count() == 1


def test_the_same_key_at_another_address_is_refused(owner, job_body):
    job = create(owner, job_body).json()
    answer = owner.api.post("/api/deployments/", {"job": job["id"]}, HTTP_IDEMPOTENCY_KEY="k1")
    assert answer.status_code == 422


def test_keys_are_each_persons_own(owner, stranger, job_body):
    create(owner, job_body)
    body = job_body | {"dataset": str(make_dataset(stranger.user).pk)}
    assert create(stranger, body).status_code == 201
    assert create(stranger, job_body).status_code == 422  # hers was another body; of the owner's she learns nothing
    assert Job.objects.count() == 2


def test_nobody_who_is_not_signed_in_learns_anything(owner, signed_out, job_body):
    create(owner, job_body)
    assert create(signed_out, job_body).status_code == 401


def test_a_refused_request_leaves_its_key_free(owner, job_body):
    assert create(owner, job_body | {"base_model": "nonsense"}).status_code == 400
    assert create(owner, job_body).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "schlüssel", "line\tbreak"])
def test_a_key_that_cannot_be_one_is_refused(owner, job_body, key):
    answer = create(owner, job_body, key)
    assert answer.status_code == 400
    assert "1 to 255 printable" in answer.json()["detail"]


def test_an_answer_is_given_again_for_24_hours_and_then_forgotten(owner, job_body):
    first = create(owner, job_body).json()["id"]
    AnsweredRequest.objects.update(created_at=Now() - timedelta(hours=23, minutes=59))
    assert create(owner, job_body).json()["id"] == first
    AnsweredRequest.objects.update(created_at=Now() - timedelta(hours=24, minutes=1))
    second = create(owner, job_body).json()["id"]
    assert second != first
    AnsweredRequest.objects.update(created_at=Now() - timedelta(hours=25))
    assert forget_due() == 1
    assert not AnsweredRequest.objects.exists()


def test_an_answer_stays_when_what_it_was_made_from_is_gone(owner, job_body, ready_dataset):
    first = create(owner, job_body)
    Job.objects.all().delete()
    ready_dataset.delete()
    again = create(owner, job_body)
    assert (again.status_code, again.content) == (201, first.content)


def test_retry_and_resume_make_one_job_each(owner):
    job = make_job(owner.user)
    Job.objects.filter(pk=job.pk).update(status="failed", reason="program_failed", final_cost=0, completed_at=Now())
    path = f"/api/jobs/{job.pk}/retry/"
    ids = {owner.api.post(path, HTTP_IDEMPOTENCY_KEY="again").json()["id"] for _ in range(3)}
    assert len(ids) == 1
    assert Job.objects.count() == 2
    answer = owner.api.post(f"/api/jobs/{job.pk}/resume/", {}, HTTP_IDEMPOTENCY_KEY="again")
    assert answer.status_code == 422


def test_a_deployment_is_started_once_and_answered_twice(owner):
    job = make_job(owner.user)
    answers = [
        owner.api.post("/api/deployments/", {"job": str(job.pk)}, HTTP_IDEMPOTENCY_KEY="go").status_code
        for _ in range(2)
    ]
    assert answers == [202, 202]
    assert owner.api.post("/api/deployments/", {"job": str(job.pk)}).status_code == 409


def upload(person: Person, content: bytes = ROWS, key: str = "up", name: str = "rows") -> Any:
    file = SimpleUploadedFile("rows.jsonl", content)
    return person.api.post("/api/datasets/", {"file": file, "name": name}, format="multipart", HTTP_IDEMPOTENCY_KEY=key)


def test_an_upload_is_stored_once(owner):
    first, again = upload(owner), upload(owner)
    assert (first.status_code, again.status_code) == (201, 201), again.content
    assert again.content == first.content
    assert Dataset.objects.count() == 1
    assert len(storages["lora-datasets"].listdir(str(owner.user.pk))[1]) == 1


def test_other_content_or_another_name_is_another_upload(owner):
    upload(owner)
    assert upload(owner, ROWS + ROWS).status_code == 422
    assert upload(owner, name="others").status_code == 422
    assert Dataset.objects.count() == 1


def test_a_file_of_the_store_is_brought_in_once(owner):
    storages["training-files"].save("owner/brought.jsonl", ContentFile(ROWS))
    body = {"path": "owner/brought.jsonl"}
    answers = [owner.api.post("/api/datasets/import/", body, HTTP_IDEMPOTENCY_KEY="in") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201], answers[1].content
    assert owner.api.post("/api/datasets/import/", body).status_code == 400


# Crashes


class Died(BaseException):
    """In the place of the end of a process: nothing catches it."""


@pytest.fixture
def dying(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def die() -> None:
        raise Died

    monkeypatch.setattr(killpoints, "die", die)
    return monkeypatch


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("place", "left"), [("answer.before_commit", 0), ("answer.after_commit", 1)])
def test_a_crash_leaves_both_or_neither_and_the_next_try_goes_on(owner, job_body, dying, place, left):
    body = job_body | {"start": True}
    dying.setenv(killpoints.ARMED, place)
    with pytest.raises(Died):
        create(owner, body)
    dying.delenv(killpoints.ARMED)
    assert Job.objects.count() == AnsweredRequest.objects.count() == left
    answer = create(owner, body)
    assert answer.status_code == 201
    assert Job.objects.get().pk.hex == answer.json()["id"].replace("-", "")
    assert JobEvent.objects.filter(job_id=answer.json()["id"], message="Saved.").count() == 1
    assert create(owner, body).content == answer.content


@pytest.mark.django_db(transaction=True)
def test_a_crash_of_an_upload_leaves_no_row_and_the_next_try_goes_on(owner, dying):
    dying.setenv(killpoints.ARMED, "answer.before_commit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of the file in hand, which the end of a process closes
        with pytest.raises(Died):
            upload(owner)
        gc.collect()
    dying.delenv(killpoints.ARMED)
    assert not Dataset.objects.exists()
    assert upload(owner).status_code == 201
    assert Dataset.objects.count() == 1


# Side by side


def side_by_side(count: int, ask: Any) -> list[Any]:
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        together.wait()
        try:
            return ask(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.scenario(34, "I1, I9")
@pytest.mark.django_db(transaction=True)
def test_fifty_at_once_make_one_job_and_get_fifty_equal_answers(world):
    person = make_user("many")
    body = {
        "name": "first", "dataset": str(make_dataset(person).pk), "base_model": "a/b",
        "gpu_config": {"provider": "scripted"}, "start": True,
    }  # fmt: skip
    clients = [APIClient() for _ in range(50)]
    for client in clients:
        client.force_login(person)
    answers = side_by_side(50, lambda n: clients[n].post("/api/jobs/", body, HTTP_IDEMPOTENCY_KEY="one"))
    assert {answer.status_code for answer in answers} == {201}, [a.content for a in answers if a.status_code != 201][:1]
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotent-Replayed" in answer for answer in answers) == 49
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_bodies_at_once_one_is_made_and_the_other_refused(world):
    person = make_user("two")
    dataset = str(make_dataset(person).pk)
    clients = [APIClient() for _ in range(20)]
    for client in clients:
        client.force_login(person)

    def ask(number: int) -> Any:
        body = {
            "name": f"n{number % 2}",
            "dataset": dataset,
            "base_model": "a/b",
            "gpu_config": {"provider": "scripted"},
        }
        return clients[number].post("/api/jobs/", body, HTTP_IDEMPOTENCY_KEY="one")

    answers = side_by_side(20, ask)
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [422] * 10
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_who_waits_for_a_request_that_fails_makes_it_instead(world, monkeypatch):
    """The first request dies while a second one waits for it: the second one does the work."""
    person = make_user("second")
    body = {
        "name": "first", "dataset": str(make_dataset(person).pk), "base_model": "a/b",
        "gpu_config": {"provider": "scripted"},
    }  # fmt: skip
    clients = [APIClient(), APIClient()]
    for client in clients:
        client.force_login(person)
    inside, go_on = threading.Event(), threading.Event()

    def place(name: str) -> None:
        if name == "answer.before_commit" and not inside.is_set():
            inside.set()
            assert go_on.wait(20)
            raise Died

    monkeypatch.setattr("pipeline.api.repeats.killpoint", place)

    def dies() -> bool:
        try:
            clients[0].post("/api/jobs/", body, HTTP_IDEMPOTENCY_KEY="one")
        except Died:
            return True
        finally:
            connections.close_all()
        return False

    def waits() -> Any:
        try:
            return clients[1].post("/api/jobs/", body, HTTP_IDEMPOTENCY_KEY="one")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(dies)
        assert inside.wait(20)
        second = pool.submit(waits)
        until_somebody_waits()
        go_on.set()
        assert first.result(20)
        assert second.result(20).status_code == 201
    assert Job.objects.count() == 1


def until_somebody_waits() -> None:
    def waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
            return bool(cursor.fetchone()[0])

    until(waiting, 10, "a request that waits for the other")
