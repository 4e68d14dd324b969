"""A machine's first call: one token for another, once, in time, for one machine."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client

from pipeline.models import Attempt, JobEvent
from pipeline.models.access import BOOTSTRAP_TOKEN_PREFIX, new_token, token_hash
from pipeline.states import AttemptState
from tests.factories import make_running_job, make_user
from tests.fakes.provider import World

NONCE = "n" * 32


class Machine:
    """A rented machine, as far as the server can tell."""

    def __init__(self, **fields: Any) -> None:
        self.job, self.attempt, self.old_token = make_running_job(make_user(), **fields)
        self.first_token = new_token(BOOTSTRAP_TOKEN_PREFIX)
        self.change(
            token_hash=None,
            bootstrap_hash=token_hash(self.first_token),
            bootstrap_until=Now() + timedelta(minutes=30),
        )

    def change(self, **fields: Any) -> None:
        Attempt.objects.filter(pk=self.attempt.pk).update(**fields)
        self.attempt.refresh_from_db()

    def call(self, nonce: Any = NONCE, *, token: str | None = None, job: Any = None) -> Any:
        return Client().post(
            f"/api/training/jobs/{job or self.job.pk}/bootstrap",
            data=json.dumps({"nonce": nonce}),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.first_token if token is None else token}"},
        )

    def spec(self, token: str) -> int:
        url = f"/api/training/jobs/{self.job.pk}/spec"
        return Client().get(url, headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.fixture
def machine(db: None, world: World) -> Machine:
    return Machine()


def test_the_exchange_gives_all_that_a_machine_needs_to_begin(machine: Machine) -> None:
    answer = machine.call()
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert machine.spec(body["token"]) == 200
    program = Client().get("/api/training/program")
    assert body["program"]["url"].endswith("/api/training/program")
    assert body["program"]["sha256"] == hashlib.sha256(b"".join(program)).hexdigest()
    assert 60 <= body["seconds"] <= machine.job.max_duration
    machine.attempt.refresh_from_db()
    assert machine.attempt.first_contact_at is not None
    assert machine.attempt.last_seen_at is not None
    assert [event.data["what"] for event in JobEvent.objects.filter(job=machine.job)] == ["called"]


def test_neither_token_nor_nonce_is_stored(machine: Machine) -> None:
    token = machine.call().json()["token"]
    row = json.dumps(Attempt.objects.filter(pk=machine.attempt.pk).values().get(), default=str)
    for secret in (token, machine.first_token, NONCE):
        assert secret not in row


def test_the_first_token_opens_nothing_else(machine: Machine) -> None:
    assert machine.spec(machine.first_token) == 401
    machine.call()
    assert machine.spec(machine.first_token) == 401


def test_the_token_of_the_run_cannot_be_exchanged(machine: Machine) -> None:
    token = machine.call().json()["token"]
    assert machine.call(token=token).status_code == 401


def test_a_lost_answer_is_asked_for_again_and_the_former_token_is_dead(machine: Machine) -> None:
    first, second = machine.call().json()["token"], machine.call().json()["token"]
    assert first != second
    assert (machine.spec(first), machine.spec(second)) == (401, 200)
    assert JobEvent.objects.filter(job=machine.job).count() == 1


def test_another_machine_is_told_that_the_token_is_spent(machine: Machine) -> None:
    token = machine.call().json()["token"]
    answer = machine.call("m" * 32)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_exchanged")
    assert machine.spec(token) == 200


@pytest.mark.parametrize("token", ["", "stk_b_wrong"], ids=["none", "wrong"])
def test_a_stranger_is_refused(machine: Machine, token: str) -> None:
    assert machine.call(token=token).status_code == 401
    machine.attempt.refresh_from_db()
    assert machine.attempt.first_contact_at is None


def test_the_token_of_another_job_finds_nothing_here(machine: Machine) -> None:
    other, _, _ = make_running_job(make_user())
    assert machine.call(job=other.pk).status_code == 404


def test_the_owner_is_the_token_and_not_who_is_signed_in(machine: Machine) -> None:
    browser = Client()
    browser.force_login(machine.job.owner)
    answer = browser.post(f"/api/training/jobs/{machine.job.pk}/bootstrap", data="{}", content_type="application/json")
    assert answer.status_code == 401


def test_too_late_is_told_from_wrong(machine: Machine) -> None:
    machine.change(bootstrap_until=Now() - timedelta(seconds=1))
    answer = machine.call()
    assert (answer.status_code, answer.json()["code"]) == (410, "expired")
    machine.attempt.refresh_from_db()
    assert machine.attempt.token_hash is None


def test_an_attempt_that_is_over_begins_no_more(machine: Machine) -> None:
    machine.change(state=AttemptState.GONE, gone_at=Now(), gone_evidence="seen", reason="vanished")
    answer = machine.call()
    assert (answer.status_code, answer.json()["code"]) == (410, "attempt_over")
    assert answer.json()["stop"]["reason"] == "attempt_over"


@pytest.mark.parametrize("nonce", [None, "", "short", 17, ["n" * 32], "n" * 201, {"n": 1}])
def test_a_call_without_a_proper_nonce_gets_a_sentence(machine: Machine, nonce: Any) -> None:
    answer = machine.call(nonce)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "nonce"


@pytest.mark.django_db(transaction=True)
def test_of_eight_machines_at_once_one_is_let_in(world: World) -> None:
    machine = Machine()

    def call(number: int) -> int:
        try:
            return int(machine.call(str(number) * 32).status_code)
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(call, range(8)))
    assert statuses == [200] + [409] * 7
