"""Nonsense in the right places: whatever a field of a real request holds, the answer is a job or a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.urls import reverse
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline.models import Job
from pipeline.services.rulebook import add
from tests.pipeline.api import test_access as access
from tests.pipeline.api.conftest import ACCOUNT_KEY
from training.hyperparameters import BY_NAME

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KINDS = st.sampled_from(["email", "slack", "webhook", "apprise", "https://127.0.0.1/", "json://127.0.0.1/", "a@b.org"])
calm = settings(
    max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FIELDS = (
    "name", "dataset", "eval_dataset", "base_model", "preset", "hyperparameters", "gpu_config", "budget_limit",
    "max_duration", "priority", "retry_policy", "resume_from", "rules", "start",
)  # fmt: skip

PARAMETERS = (
    "status", "provider", "base_model", "dataset", "created_from", "created_to", "ids",
    "search", "ordering", "page", "page_size", "after", "limit", "kind", "attempt",
    "after_n", "after_attempt", "q", "download", "points", "from", "to", "names",
)  # fmt: skip


def is_an_answer(response: Any, *expected: int) -> None:
    assert response.status_code in expected, response.content
    if response.status_code >= 400:
        problem = response.json()
        assert response["Content-Type"] == "application/problem+json"
        assert problem["detail"]
        assert all(one["message"] for one in problem["errors"])


@calm
@given(changes=st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=3))
@example(changes={"gpu_config": {"count": 10**400}})
@example(changes={"budget_limit": "NaN"})
@example(changes={"budget_limit": "Infinity"})
@example(changes={"max_duration": 3600.5})
@example(changes={"preset": ["balanced"]})
@example(changes={"dataset": {"id": 1}})
@example(changes={"hyperparameters": {"": {}}})
@example(changes={"gpu_config": {"provider": "scripted", "fallbacks": [None]}})
@example(changes={"gpu_config": {"provider": "scripted", "fallbacks": [{"type": "box", "cloud": None}]}})
@example(changes={"gpu_config": {"provider": "scripted", "fallbacks": {"type": "box"}}})
@example(changes={"resume_from": "00000000-0000-4000-8000-000000000000"})
@example(changes={"rules": [{"kind": "loss_above", "parameters": {"threshold": 10**400}}]})
@example(changes={"rules": [{"kind": "loss_above", "parameters": {"metric": "\x00"}}]})
@example(changes={"rules": [{"kind": ["loss_above"]}, None, 5]})
def test_creating_a_job(owner, job_body, changes):
    with transaction.atomic():
        is_an_answer(owner.api.post("/api/jobs/", job_body | changes, format="json"), 201, 400, 409)
        transaction.set_rollback(True)


@calm
@given(name=st.sampled_from(sorted(BY_NAME)), value=anything)
def test_creating_a_job_with_an_odd_hyperparameter(owner, job_body, name, value):
    with transaction.atomic():
        answer = owner.api.post("/api/jobs/", job_body | {"hyperparameters": {name: value}}, format="json")
        is_an_answer(answer, 201, 400)
        transaction.set_rollback(True)


@calm
@given(body=st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789.eE-+nultrfas\\ ', max_size=60).map(str.encode))
def test_a_body_of_any_bytes(owner, body):
    is_an_answer(owner.api.post("/api/jobs/", body, content_type="application/json"), 400)
    assert not Job.objects.exists()


@calm
@given(body=st.dictionaries(st.sampled_from(["job", "checkpoint", "x"]), anything, max_size=2))
@pytest.mark.parametrize("path", ["/api/deployments/", "/api/jobs/{job}/resume/", "/api/jobs/{job}/checkpoint/"])
def test_any_body_of_an_order(owner, things, path, body):
    with transaction.atomic():
        answer = owner.api.post(path.format(job=things.running.pk), body, format="json")
        is_an_answer(answer, 202, 200, 400, 409)
        transaction.set_rollback(True)


@calm
@given(
    part=st.sampled_from(["", "events/", "logs/", "live/", "metrics/", "costs/"]),
    query=st.dictionaries(
        st.sampled_from(PARAMETERS),
        st.text(max_size=12) | st.integers().map(str),
        max_size=3,
    ),
)
def test_any_query(owner, things, part, query):
    path = "/api/jobs/" if not part else f"/api/jobs/{things.running.pk}/{part}"
    is_an_answer(owner.api.get(path, query), 200, 400, 404)


@calm
@given(
    query=st.dictionaries(st.sampled_from(["names", "points"]), st.text(max_size=12) | st.integers().map(str)),
    ids=st.text(max_size=40) | st.just("own"),
)
def test_any_comparison(owner, things, query, ids):
    ids = f"{things.running.pk},{things.saved.pk}" if ids == "own" else ids
    is_an_answer(owner.api.get("/api/jobs/compare/", query | {"ids": ids}), 200, 400, 404)


@calm
@given(body=st.dictionaries(st.sampled_from(["ids", "x"]), anything, max_size=2))
def test_any_order_for_many(owner, body):
    is_an_answer(owner.api.post("/api/jobs/cancel/", body, format="json"), 200, 400)


@calm
@given(body=st.dictionaries(st.sampled_from(["secret", "base_url", "options", "hint"]), anything, min_size=1))
@example(body={"secret": ACCOUNT_KEY, "options": {"idempotent": 10**400}})
@example(body={"secret": ACCOUNT_KEY, "options": {"region": "\x00"}})
@example(body={"secret": ACCOUNT_KEY, "base_url": "https://[::1"})
@example(body={"secret": ACCOUNT_KEY, "base_url": "https://" + "a" * 300})
def test_saving_a_key(owner, rented, body):
    with transaction.atomic():
        is_an_answer(owner.api.put("/api/credentials/rented/", body, format="json"), 200, 400)
        transaction.set_rollback(True)


@calm
@given(
    body=st.dictionaries(st.sampled_from(["version", "kind", "parameters", "action", "enabled"]), anything),
    parameters=st.dictionaries(st.sampled_from(["metric", "threshold", "points", "side", "x"]), anything),
)
def test_changing_a_rule(owner, things, body, parameters):
    with transaction.atomic():
        rule = add(things.running.pk, {"kind": "metric_threshold"})
        body = {"version": 1, "parameters": parameters} | body
        is_an_answer(owner.api.patch(f"/api/rules/{rule.pk}/", body, format="json"), 200, 400, 409)
        transaction.set_rollback(True)


@calm
@given(
    body=st.dictionaries(st.sampled_from(["kind", "name", "address", "enabled", "x"]), anything | KINDS, min_size=1),
    method=st.sampled_from(["post", "patch"]),
)
@example(body={"kind": "webhook", "name": "a", "address": "https://[::1"}, method="post")
@example(body={"kind": "slack", "name": "a", "address": "https://\x00"}, method="post")
@example(body={"kind": "email", "name": "\x00", "address": "a@example.org"}, method="post")
@example(body={"address": "http://example.org:99999999999/"}, method="patch")
def test_a_destination(owner, things, body, method):
    with transaction.atomic():
        path = reverse("api-destination", kwargs=access.destination(things))
        answer = getattr(owner.api, method)(path if method == "patch" else "/api/destinations/", body, format="json")
        is_an_answer(answer, 200, 201, 400)
        transaction.set_rollback(True)


@calm
@given(choices=anything | st.lists(st.dictionaries(st.sampled_from(["destination", "type", "wanted"]), anything)))
def test_choices_of_events(owner, choices):
    is_an_answer(owner.api.patch("/api/notification-settings/", {"choices": choices}, format="json"), 200, 400)


@pytest.mark.parametrize(
    "path",
    [
        "/api/notifications/", "/api/tokens/", "/api/credentials/", "/api/presets/", "/api/datasets/",
        "/api/destinations/", "/api/deliveries/",
    ],
)  # fmt: skip
@calm
@given(
    query=st.dictionaries(
        st.sampled_from(["page", "page_size", "unread", "type", "job", "state", "destination"]),
        st.text(max_size=12),
        max_size=2,
    )
)
def test_any_query_of_other_lists(owner, path, query):
    is_an_answer(owner.api.get(path, query), 200, 400, 404)
