"""A key that must not come out anywhere: used, refused, repeated in errors and answers, and then searched for."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from pipeline import accounts
from pipeline.config.logs import JsonLines, TextLines
from pipeline.models import Credential, Job, JobEvent, ProviderCall
from pipeline.providers.base import Account, AuthError, CreateRequest, MachineState, NoCapacity, Refused, Unavailable
from pipeline.services import observation, stopping, submission, sweeping
from pipeline.states import JobStatus
from tests.conftest import Person
from tests.factories import make_dataset
from tests.fakes.provider import World
from tests.pipeline.live.conftest import browser, open_page
from tests.pipeline.live.page import Page
from tests.pipeline.steps import look

__all__ = ["browser", "open_page"]

pytestmark = pytest.mark.django_db(transaction=True)

CANARY = "canary-in-the-mine-0123456789"
JOB = {"name": "first", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct", "start": True}


@pytest.fixture
def written() -> Iterator[Callable[[], str]]:
    """Everything that is logged, down to DEBUG, as both formats write it."""
    lines = io.StringIO()
    handlers = [logging.StreamHandler(lines), logging.StreamHandler(lines)]
    handlers[0].setFormatter(TextLines())
    handlers[1].setFormatter(JsonLines())
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield lines.getvalue
    for handler in handlers:
        root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def world(rented: World) -> World:
    rented.accounts = {CANARY: "ada@lab"}
    return rented


class Indiscreet:
    """Makes each call of the provider log its key, and the named ones fail with an error that holds it."""

    def __init__(self, world: World) -> None:
        self.errors: dict[str, Exception] = {}
        self.calls = 0
        world.fault = self

    def __call__(self, operation: str, account: Account) -> None:
        self.calls += 1
        logging.getLogger("tests.library").debug("%s with header X-Whatever: %s", operation, account.secret)
        error = self.errors.pop(operation, None)
        if error is not None:
            try:
                raise ConnectionError(f"Key {account.secret} was sent.")
            except ConnectionError as cause:
                raise error from cause


def save(owner: Person) -> Any:
    return owner.api.put("/api/credentials/rented/", {"secret": CANARY}, format="json")


def as_a_worker_does(work: Callable[[], Any]) -> None:
    """Run it, and log what it raises with its traceback, as Celery would."""
    try:
        work()
    except Exception:
        logging.getLogger("celery.app.trace").exception("Task failed")


def test_the_key_comes_out_nowhere(
    owner: Person, world: World, written: Callable[[], str], open_page: Callable[..., Page]
) -> None:
    owner.api.raise_request_exception = False
    provider = Indiscreet(world)
    answers: list[Any] = []

    # It is refused in every way, and then saved.
    for error in (
        AuthError(f"401: {CANARY} is not a key."),
        Refused(f"{CANARY} may not."),
        Unavailable(f"Timeout after {CANARY}."),
        RuntimeError("A mistake", {"Authorization": CANARY}),
        OSError(5, f"cannot read {CANARY}"),
    ):
        provider.errors["check"] = error
        answers.append(save(owner))
        assert answers[-1].status_code in (400, 503)
    answers.append(save(owner))
    assert answers[-1].status_code == 200
    credential = Credential.objects.get()
    assert accounts.open_account(credential).secret == CANARY

    # A job rents with it, while every call fails once with the key in the error.
    dataset = make_dataset(owner.user)
    body = JOB | {"dataset": str(dataset.pk), "gpu_config": {"provider": "rented"}}
    for error in (AuthError(f"No offers for {CANARY}."), Unavailable(f"No offers for {CANARY}.")):
        provider.errors["offers"] = error
        answers.append(owner.api.post("/api/jobs/", body, format="json"))
        assert answers[-1].status_code == 400
    made = owner.api.post("/api/jobs/", body, format="json")
    answers.append(made)
    job = Job.objects.get(pk=made.json()["id"])
    page = open_page(owner)
    page.follow(job)
    provider.errors["observe"] = Unavailable(f"Looked with {CANARY}.")
    as_a_worker_does(lambda: submission.submit(job.pk))
    provider.errors["create"] = NoCapacity(f"None for {CANARY}.")
    as_a_worker_does(lambda: look(job))

    def lose_the_answer(request: CreateRequest) -> None:
        raise ValueError(f"The answer to {CANARY} is no JSON.")

    world.after_create = lose_the_answer
    as_a_worker_does(lambda: submission.submit(job.pk))
    as_a_worker_does(lambda: look(job))
    assert job.attempts.filter(state="live").exists()
    for error in (
        AuthError(f"401 for {CANARY}."),
        Unavailable(f"502 for {CANARY}."),
        RuntimeError(f"Unforeseen {CANARY}."),
    ):
        provider.errors["observe"] = error
        as_a_worker_does(lambda: look(job))
    provider.errors["inventory"] = Unavailable(f"List for {CANARY}.")
    for known in sweeping.known_looks():
        as_a_worker_does(lambda known=known: sweeping.sweep(known))

    # The machine, if there is one, repeats the key too, and is stopped.
    for name, machine in world.machines.items():
        world.machines[name] = replace(machine, detail=f"env: {CANARY}", output_tail=f"export KEY={CANARY}")
    answers.append(owner.api.post(f"/api/jobs/{job.pk}/cancel/"))
    provider.errors["stop"] = Unavailable(f"No stop for {CANARY}.")
    as_a_worker_does(lambda: stopping.stop(job.pk))
    for name in list(world.machines):
        world.change(name, state=MachineState.GONE)
    for _ in range(4):
        as_a_worker_does(lambda: look(job))
    as_a_worker_does(observation.poll_due)
    provider.errors["check"] = AuthError(f"Revoked: {CANARY}.")
    answers.append(owner.api.post("/api/credentials/rented/check/"))
    job.refresh_from_db()

    # All of it happened, so that not finding the key means something.
    assert provider.calls > 20
    assert provider.errors == {}
    assert job.status == JobStatus.CANCELLED
    assert "[hidden]" in Credential.objects.get().problem
    assert JobEvent.objects.filter(job=job, message__contains="[hidden]").exists()
    assert ProviderCall.objects.filter(detail__contains="[hidden]").exists()
    page.hears("job", lambda frame: frame["job"]["status"] == "cancelled")

    places = {
        "the database": database(),
        "the log": written(),
        "the API": "".join(answer.content.decode() for answer in answers) + read_everything(owner.api, job),
        "the pages": read(owner.browser, "/settings/", "/jobs/", f"/jobs/{job.pk}/", "/jobs/new/"),
        "the admin": admin(credential),
        "the socket": json.dumps(page.heard),
        "the broker": broker(),
        "the machines": repr(world.requests),
    }
    for place, text in places.items():
        assert CANARY not in text, f"The key is in {place}: {text[max(0, text.index(CANARY) - 300) :][:600]}"
        assert CANARY.encode().hex() not in text, place
    assert str(job.pk) in places["the database"]
    assert "[hidden]" in places["the log"]
    assert "Traceback" in places["the log"]
    assert "[hidden]" in places["the API"]
    assert str(job.pk) in places["the broker"]
    assert "JOB_TOKEN" in places["the machines"]


def database() -> str:
    """Every row of every table as text, bytes as hexadecimal digits."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found += [row[0] for row in cursor.fetchall()]
    return "\n".join(found)


def broker() -> str:
    """Everything in Valkey: messages of tasks, hints, cache."""
    found = []
    for number in (0, 1, 2):
        with redis.Redis.from_url(settings.STOKER_HINTS_URL.replace("db=1", f"db={number}")) as client:
            for key in client.scan_iter():
                if client.type(key) == b"list":
                    found += [json.dumps(unpacked(message)) for message in client.lrange(key, 0, -1)]
                found.append(repr(client.dump(key)))
    return "\n".join(found)


def unpacked(message: bytes) -> Any:
    """A message of Celery with its body in clear."""
    envelope = json.loads(message)
    return envelope | {"body": base64.b64decode(envelope["body"]).decode()}


def read(client: Any, *paths: str) -> str:
    found = []
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        found.append(answer.getvalue().decode() if answer.streaming else answer.content.decode())
    return "\n".join(found)


def read_everything(client: Any, job: Job) -> str:
    parts = ("", "events/", "logs/", "costs/", "live/", "artifacts/", "samples/")
    return read(
        client, *(f"/api/jobs/{job.pk}/{part}" for part in parts), "/api/jobs/", "/api/credentials/",
        "/api/providers/", "/api/notifications/", "/api/me/", "/api/tokens/",
    )  # fmt: skip


def admin(credential: Credential) -> str:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    lists = ("credential", "job", "attempt", "providercall", "jobevent", "accountlook", "machinesighting")
    paths = [reverse(f"admin:pipeline_{name}_changelist") for name in lists]
    return read(client, *paths, reverse("admin:pipeline_credential_change", args=[credential.pk]))
