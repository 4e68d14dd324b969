"""Who gets in: the owner, a stranger who is signed in, and somebody who is not, at every address below /api/."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest
from django.db.models.functions import Now
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from notifications import addresses
from notifications.models import Delivery, Destination, Notification
from pipeline.services.rulebook import add
from tests.pipeline.api.conftest import Things

METHODS = ("get", "post", "put", "patch", "delete")


class Kind(Enum):
    OBJECT = "of one person: to others it does not exist"
    LIST = "everybody gets their own"
    COMMON = "the same for everybody who is signed in"


@dataclass(frozen=True)
class Case:
    method: str
    name: str  # of the URL pattern
    kind: Kind
    make: Callable[[Things], dict[str, Any]] = lambda things: {}

    def __str__(self) -> str:
        return f"{self.method} {self.name}"


def running(things: Things) -> dict[str, Any]:
    return {"job_id": things.running.pk}


def saved(things: Things) -> dict[str, Any]:
    return {"job_id": things.saved.pk}


def artifact(things: Things) -> dict[str, Any]:
    return {"artifact_id": things.artifact.pk}


def token(things: Things) -> dict[str, Any]:
    return {"token_id": things.token.pk}


def credential(things: Things) -> dict[str, Any]:
    return {"provider": things.credential.provider}


def dataset(things: Things) -> dict[str, Any]:
    return {"pk": things.saved.dataset_id}


def notification(things: Things) -> dict[str, Any]:
    owner = things.running.owner
    return {"notification_id": Notification.objects.create(owner=owner, type="job_started", title="x").pk}


def rule(things: Things) -> dict[str, Any]:
    return {"rule_id": add(things.running.pk, {"kind": "loss_not_finite"}).pk}


def destination(things: Things) -> dict[str, Any]:
    row = Destination(owner=things.running.owner, kind="slack", name=str(uuid.uuid4()), hint="owner@example.org")
    addresses.put(row, "https://127.0.0.1/nobody-calls-this")
    row.save()
    return {"destination_id": row.pk}


def delivery(things: Things) -> dict[str, Any]:
    row = Delivery.objects.create(
        notification_id=notification(things)["notification_id"],
        destination_id=destination(things)["destination_id"],
        since=Now(),
        next_try_at=Now(),
    )
    return {"delivery_id": row.pk}


CASES = [
    Case("get", "api-jobs", Kind.LIST),
    Case("post", "api-jobs", Kind.LIST),
    Case("get", "api-jobs-csv", Kind.LIST),
    Case("post", "api-jobs-cancel", Kind.LIST),
    Case("get", "api-jobs-compare", Kind.LIST),  # others' jobs: test_many.py
    Case("get", "api-job", Kind.OBJECT, running),
    Case("patch", "api-job", Kind.OBJECT, running),
    Case("delete", "api-job", Kind.OBJECT, saved),
    Case("post", "api-job-start", Kind.OBJECT, saved),
    Case("post", "api-job-cancel", Kind.OBJECT, running),
    Case("post", "api-job-retry", Kind.OBJECT, running),
    Case("post", "api-job-resume", Kind.OBJECT, running),
    Case("post", "api-job-checkpoint", Kind.OBJECT, running),
    Case("post", "api-deployments", Kind.LIST),
    Case("get", "api-deployment", Kind.OBJECT, running),
    Case("post", "api-deployment-stop", Kind.OBJECT, running),
    *(
        Case("get", f"api-job-{part}", Kind.OBJECT, running)
        for part in (
            "live",
            "metrics",
            "metrics-csv",
            "metrics-json",
            "events",
            "events-csv",
            "events-json",
            "logs",
            "log-places",
            "attempts",
            "situation",
            "samples",
            "artifacts",
            "costs",
        )
    ),
    Case("get", "api-artifact-download", Kind.OBJECT, artifact),
    Case("get", "api-presets", Kind.COMMON),
    Case("get", "api-preset", Kind.COMMON, lambda things: {"slug": "balanced"}),
    Case("get", "api-base-models", Kind.COMMON),
    Case("get", "api-hyperparameters", Kind.COMMON),
    Case("get", "api-providers", Kind.COMMON),
    Case("get", "api-spending", Kind.LIST),
    Case("get", "api-spending-csv", Kind.LIST),
    Case("get", "api-budget", Kind.LIST),
    Case("put", "api-budget", Kind.LIST),
    Case("get", "api-estimates", Kind.LIST),
    Case("post", "api-estimates", Kind.LIST),
    Case("post", "api-offers", Kind.LIST),
    Case("get", "api-job-rules", Kind.OBJECT, running),
    Case("post", "api-job-rules", Kind.OBJECT, running),
    Case("get", "api-rules", Kind.LIST),
    Case("post", "api-rules", Kind.LIST),
    Case("get", "api-rule", Kind.OBJECT, rule),
    Case("patch", "api-rule", Kind.OBJECT, rule),
    Case("delete", "api-rule", Kind.OBJECT, rule),
    Case("post", "api-rule-arm", Kind.OBJECT, rule),
    Case("get", "api-rule-kinds", Kind.COMMON),
    Case("post", "api-rule-check", Kind.COMMON),
    Case("get", "api-rules-for-new-job", Kind.LIST),
    Case("get", "api-tokens", Kind.LIST),
    Case("post", "api-tokens", Kind.LIST),
    Case("delete", "api-token", Kind.OBJECT, token),
    Case("get", "api-credentials", Kind.LIST),
    Case("put", "api-credential", Kind.LIST, credential),
    Case("delete", "api-credential", Kind.OBJECT, credential),
    Case("post", "api-credential-check", Kind.OBJECT, credential),
    Case("get", "api-me", Kind.LIST),
    Case("get", "api-schema", Kind.COMMON),
    Case("get", "api-notifications", Kind.LIST),
    Case("get", "api-notifications-unread", Kind.LIST),
    Case("post", "api-notifications-read-all", Kind.LIST),
    Case("post", "api-notification-read", Kind.OBJECT, notification),
    Case("get", "api-destinations", Kind.LIST),
    Case("post", "api-destinations", Kind.LIST),
    Case("get", "api-destination", Kind.OBJECT, destination),
    Case("patch", "api-destination", Kind.OBJECT, destination),
    Case("delete", "api-destination", Kind.OBJECT, destination),
    Case("post", "api-destination-test", Kind.OBJECT, destination),
    Case("post", "api-destination-new-secret", Kind.OBJECT, destination),
    Case("get", "api-deliveries", Kind.LIST),
    Case("post", "api-delivery-send-again", Kind.OBJECT, delivery),
    Case("get", "api-notification-settings", Kind.LIST),
    Case("patch", "api-notification-settings", Kind.LIST),
    Case("get", "dataset-list", Kind.LIST),
    Case("post", "dataset-list", Kind.LIST),
    Case("post", "dataset-bring-in", Kind.LIST),
    Case("get", "dataset-detail", Kind.OBJECT, dataset),
    Case("patch", "dataset-detail", Kind.OBJECT, dataset),
    Case("delete", "dataset-detail", Kind.OBJECT, dataset),
    Case("post", "dataset-check", Kind.OBJECT, dataset),
    Case("post", "dataset-link", Kind.OBJECT, dataset),
    Case("get", "dataset-rows", Kind.OBJECT, dataset),
]
# Addresses that know other callers than people. Who may do what there is tested where they are.
ELSEWHERE = {
    "training-": "tests/pipeline/test_wire.py: job tokens",
    "api-docs": "below: a page, which leads to the sign-in page",
    "api-unknown": "test_errors.py: the answer to every address that is none",
}


def routes(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, str, URLPattern]]:
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, path)
        elif path.startswith("api/"):
            yield path, entry.name or "", entry


def methods_of(entry: URLPattern) -> set[str]:
    callback: Any = entry.callback
    if hasattr(callback, "actions") and callback.actions:
        return set(callback.actions) & set(METHODS)
    view = getattr(callback, "cls", None) or callback.view_class
    return {method for method in METHODS if hasattr(view, method)}


def test_every_address_has_a_case_for_every_method():
    covered = {(case.method, case.name) for case in CASES}
    missing = [
        f"{method} {path} ({name})"
        for path, name, entry in routes()
        if not any(name.startswith(prefix) for prefix in ELSEWHERE)
        for method in methods_of(entry)
        if (method, name) not in covered
    ]
    assert not missing, "Add an access case for: " + ", ".join(missing)


def ask(api: Any, case: Case, things: Things) -> Any:
    return getattr(api, case.method)(reverse(case.name, kwargs=case.make(things)), data=None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_owner_gets_in(case, owner, things):
    answer = ask(owner.api, case, things)
    assert answer.status_code not in (401, 403, 404), answer.content
    assert answer.status_code < 500


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_stranger_sees_nothing_of_the_owners(case, stranger, things):
    answer = ask(stranger.api, case, things)
    if case.kind is Kind.OBJECT:
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
    else:
        assert answer.status_code not in (401, 403, 404)
        body = answer.getvalue().decode() if answer.streaming else answer.content.decode()
        for secret in (
            things.saved.pk,
            things.running.pk,
            things.token.pk,
            things.saved.dataset_id,
            things.credential.account_name,
            "owner@example.org",
        ):
            assert str(secret) not in body


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_signing_in_nobody_gets_in(case, signed_out, things):
    answer = ask(signed_out.api, case, things)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("case", [case for case in CASES if case.kind is Kind.OBJECT], ids=str)
def test_what_is_not_there_looks_like_what_is_not_yours(case, owner, stranger, things):
    nowhere = {key: uuid.uuid4() for key in case.make(things)}
    missing = getattr(owner.api, case.method)(reverse(case.name, kwargs=nowhere))
    foreign = ask(stranger.api, case, things)
    assert (missing.status_code, missing.json()) == (foreign.status_code, foreign.json())


def test_the_docs_lead_to_the_sign_in_page(signed_out, owner):
    assert signed_out.browser.get("/api/docs/").url == "/sign-in/?next=/api/docs/"
    assert owner.browser.get("/api/docs/").status_code == 200
