"""Every address there is, as somebody signed out and as a stranger with the owner's ids: nobody is let in by mistake.

The addresses are read from the URLconf, so one that is new is tried before anybody thinks of it. What may be open is
listed here, with why.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from notifications.models import Delivery, Destination, Notification
from pipeline.models import Job, Rule
from tests.pipeline.api.conftest import Things, scripted_provider, things
from tests.pipeline.conftest import rented, world

__all__ = ["rented", "scripted_provider", "things", "world"]
pytestmark = pytest.mark.django_db

METHODS = ("get", "post", "put", "patch", "delete")
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
SHUT = {401, 403, 404, 405, 410}
SIGN_IN = ("/sign-in/", "/admin/login/")
# What somebody who is not signed in gets to see.
OPEN = {
    "healthz": "a load balancer asks it",
    "readyz": "a load balancer asks it",
    "favicon.svg": "a picture",
    "api/training/program": "the training program itself, the same for everybody, for a machine that is just starting",
    "sign-in/": "the way in",
    "": "leads to the jobs, which lead to the sign-in page",
    "admin/login/": "the way in",
    "admin/logout/": "the way out",
    "sign-out/": "the way out",
}
# What is found by who asks, not by an id: a stranger is answered about themselves.
OF_WHO_ASKS = {
    "api/credentials/<slug:provider>/": "one's own account at a provider",
    "api/presets/<slug:slug>/": "the same for everybody",
}


def routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern).replace("^", "").replace("\\Z", "").rstrip("$")
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        elif isinstance(entry, URLPattern):
            yield path


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    """Django notes each refusal, a thousand of them here."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def ids(things: Things) -> dict[str, Any]:
    """A value of the owner's for each name that stands in an address."""
    owner, now = things.running.owner, timezone.now()
    told = Notification.objects.create(owner=owner, type="job_started", title="told to the owner")
    to = Destination.objects.create(owner=owner, kind="webhook", name="the owner's hook", sealed=b"", hint="x")
    delivery = Delivery.objects.create(notification=told, destination=to, since=now, next_try_at=now)
    return {
        "job_id": things.running.pk,
        "artifact_id": things.artifact.pk,
        "token_id": things.token.pk,
        "provider": things.credential.provider,
        "pk": things.saved.dataset_id,
        "dataset_id": things.saved.dataset_id,
        "notification_id": told.pk,
        "destination_id": to.pk,
        "delivery_id": delivery.pk,
        "rule_id": Rule.objects.filter(owner=owner)[0].pk,
        "object_id": things.running.pk,
        "id": owner.pk,
        "user_id": owner.pk,
        "slug": "balanced",
        "alias": "artifacts",
        "token": "x" * 40,
        "rest": "nowhere",
        "url": "nowhere",
        "app_label": "pipeline",
        "content_type_id": 1,
    }


@pytest.fixture
def secrets(things: Things, ids: dict[str, Any]) -> list[str]:
    """What no answer to anybody else may hold."""
    own = {"job_id", "artifact_id", "token_id", "pk", "notification_id", "destination_id", "delivery_id"}
    return [*(str(ids[name]) for name in own), "Rünning job", "owner@example.org", "told to the owner", "owner's hook"]


def filled(route: str, ids: dict[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        assert name in ids, f"{route}: say in this test which {name} is the owner's."
        return str(ids[name])

    return "/" + PARAMETER.sub(value, route).replace("\\", "").replace("?", "")


def ask(client: Client, ids: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    client.raise_request_exception = False
    seen = set()
    for route in routes():
        path = filled(route, ids)
        for method in METHODS:
            if (method, path) not in seen and "sign-out" not in route and "logout" not in route:
                seen.add((method, path))
                yield f"{method} {path}", route, getattr(client, method)(path)


def leads_to_sign_in(answer: Any) -> bool:
    return answer.status_code == 302 and answer.url.startswith(SIGN_IN)


def body_of(answer: Any) -> str:
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return content.decode(errors="replace")


def test_somebody_signed_out_is_let_in_nowhere(ids: dict[str, Any], secrets: list[str]) -> None:
    wrong = []
    for what, route, answer in ask(Client(), ids):
        shut = answer.status_code in SHUT or leads_to_sign_in(answer)
        if not shut and not (route in OPEN and answer.status_code < 400):
            wrong.append(f"{what}: {answer.status_code}")
        if not leads_to_sign_in(answer) and any(secret in body_of(answer) for secret in secrets):
            wrong.append(f"{what}: tells something of the owner's")
    assert not wrong, "\n".join(wrong)


def test_a_stranger_gets_nothing_by_knowing_the_owners_ids(
    stranger: Any, ids: dict[str, Any], secrets: list[str]
) -> None:
    wrong = []
    for what, route, answer in ask(stranger.browser, ids):
        by_id = PARAMETER.search(route) and route not in OF_WHO_ASKS
        if answer.status_code >= 500 or (by_id and answer.status_code not in SHUT and not leads_to_sign_in(answer)):
            wrong.append(f"{what}: {answer.status_code}")
        told = "" if leads_to_sign_in(answer) else body_of(answer)
        # A refusal may repeat the address that was asked for.
        asked = what.partition(" ")[2]
        if any(secret in told.replace(asked, "") for secret in secrets):
            wrong.append(f"{what}: tells something of the owner's")
    assert not wrong, "\n".join(wrong)
    assert Job.objects.get(pk=ids["job_id"]).status == "running"
    assert Job.objects.filter(owner__username="owner").count() == 2


def test_what_is_said_to_be_open_is_there() -> None:
    known = set(routes())
    assert (OPEN.keys() | OF_WHO_ASKS.keys()) <= known
