"""Every refusal is problem+json with a sentence, and no request makes the server fail."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError
from django.db.models import ProtectedError
from rest_framework.exceptions import Throttled

from pipeline.api.errors import problem_handler
from pipeline.providers.base import Unavailable
from pipeline.services.errors import Refusal

LIST = "/api/jobs/"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"name": "a\\u0000b"}', "parse_error", "NUL"),
        (b'{"a\\u0000b": 1}', "parse_error", "NUL"),
        (b'{"name": "\\ud800"}', "parse_error", "surrogate"),
        (b'{"name": NaN}', "parse_error", "NaN"),
        (b'{"priority": 1e999}', "parse_error", "too large"),
        (b'{"priority": 1' + b"0" * 5000 + b"}", "parse_error", "JSON"),
        (b"[" * 40 + b"]" * 40, "parse_error", "nested"),
        (b"[" * 200_000, "parse_error", "nested"),
        (b"\xff\xfe", "parse_error", "UTF-8"),
        (b"{", "parse_error", "JSON"),
        (b"5", "invalid", "dictionary"),
    ],
)
def test_a_body_that_cannot_be_used(owner, body, code, words):
    answer = owner.api.post(LIST, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert words in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/api/tokens/", "/api/datasets/import/"])
@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"name": "\\u0000"}', b"\xff"])
def test_every_address_reads_bodies_with_the_same_care(owner, path, body):
    answer = owner.api.post(path, body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (400, "parse_error")


def test_a_body_that_is_too_large(owner):
    answer = owner.api.post(LIST, b'{"name": "' + b"x" * 1024 * 1024 + b'"}', content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_body_of_another_kind(owner):
    answer = owner.api.post(LIST, b"a=b", content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.json()["detail"].endswith("Send it with Content-Type: application/json.")


def test_a_method_that_is_not_there(owner):
    answer = owner.api.put(LIST, {}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.json()["detail"] == "This address does not answer PUT, only GET, POST."
    assert "GET" in answer["Allow"]


def test_an_answer_that_cannot_be_given_as_asked(owner):
    answer = owner.api.get(LIST, headers={"Accept": "application/xml"})
    assert (answer.status_code, answer["Content-Type"]) == (406, "application/problem+json")


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_an_address_that_is_none(signed_out, method):
    answer = getattr(signed_out.api, method)("/api/jbos/")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_address")


def test_an_address_without_its_slash(owner):
    assert "/api/jobs/" in owner.api.get("/api/jobs").json()["detail"]


def test_errors_in_nested_fields_have_dotted_paths(owner, job_body):
    answer = owner.api.post(LIST, job_body | {"gpu_config": {"count": "x"}}, format="json")
    assert answer.json()["errors"] == [
        {"field": "gpu_config.count", "line": None, "code": "invalid", "message": "A valid integer is required."}
    ]
    assert answer.json()["detail"] == "gpu_config.count: A valid integer is required."


def test_every_error_is_listed(owner):
    body = owner.api.post(LIST, {"priority": 1000}, format="json").json()
    assert {one["field"] for one in body["errors"]} == {"name", "dataset", "base_model", "priority"}
    assert body["detail"].endswith("(3 more in “errors”.)")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Refusal("No.", code="policy"), 409, "policy", None),
        (Unavailable("It is away."), 503, "provider_unavailable", "60"),
        (OperationalError("deadlock detected"), 503, "busy", "2"),
        (ProtectedError("x", set()), 409, "in_use", None),
        (Throttled(wait=3.2), 429, "throttled", "4"),
    ],
)
def test_what_services_and_libraries_raise(db, error, status, code, retry):
    answer = problem_handler(error, {})
    assert (answer.status_code, answer.data["code"]) == (status, code)
    assert answer.get("Retry-After") == retry
    json.dumps(answer.data)


def test_a_fault_of_ours_is_not_hidden(db):
    assert problem_handler(KeyError("x"), {}) is None
