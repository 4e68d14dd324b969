"""The OpenAPI document: complete, without warnings, and what the server really does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

from pipeline.services.rulebook import add
from tests.pipeline.api.test_access import ELSEWHERE, methods_of, routes


def test_schema_is_valid_and_makes_no_warnings(tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def test_every_address_and_method_is_documented(document):
    documented = {
        (method, operation["operationId"]) for path in document["paths"].values() for method, operation in path.items()
    }
    hidden = (*ELSEWHERE, "api-schema")
    expected = [
        (method, path) for path, name, entry in routes() if not name.startswith(hidden) for method in methods_of(entry)
    ]
    assert len(documented) == len(expected)


def test_every_operation_has_a_summary_and_says_how_errors_look(document):
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("summary") or operation.get("description"), f"{method} {path}"
            assert "application/problem+json" in operation["responses"]["4XX"]["content"]


def test_no_words_for_developers_of_the_server_are_shown(document):
    assert "Subclasses" not in str(document)
    assert document["info"]["description"].startswith("`/api/docs/` shows this text")


def test_the_document_can_be_read_by_programs(owner):
    answer = owner.api.get("/api/schema/?format=json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.")


def test_the_docs_page_runs_no_inline_script(owner):
    page = owner.browser.get("/api/docs/")
    text = page.content.decode()
    assert "<script>" not in text
    assert "<style" not in text
    assert "unsafe" not in page["Content-Security-Policy"]
    script = owner.browser.get(text.split('<script src="')[-1].split('"')[0].replace("&amp;", "&"))
    assert script["Content-Type"].startswith("application/javascript")


CHECKED = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")


@pytest.fixture
def kept_connection() -> Iterator[None]:
    """Requests leave the test's connection, and with it its transaction, open; Django's test client does the same."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("kept_connection")
def test_generated_requests_get_documented_answers(owner, things):
    """Wild requests to every operation, half of them about things that exist; what each changes is rolled back."""
    headers = {"Authorization": f"Bearer {things.token_text}"}
    known = {
        "job_id": str(things.running.pk),
        "artifact_id": str(things.artifact.pk),
        "token_id": str(things.token.pk),
        "id": str(things.saved.dataset_id),
        "slug": "balanced",
        "rule_id": str(add(things.running.pk, {"kind": "loss_not_finite"}).pk),
        "provider": things.credential.provider,
    }
    schema = schemathesis.openapi.from_wsgi("/api/schema/?format=json", WSGIHandler(), headers=headers)
    checks = [CHECKS.get_one(name) for name in CHECKED]
    operations = [result.ok() for result in schema.get_all_operations()]
    # Uploads are files and not JSON: they have tests of their own with the datasets.
    operations = [one for one in operations if one.label != "POST /api/datasets/"]
    assert len(operations) > 30

    for operation in operations:

        @given(case=operation.as_strategy(), existing=st.booleans())
        @settings(
            max_examples=5, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        def ask(case: Any, existing: bool) -> None:
            if existing:
                case.path_parameters |= {name: value for name, value in known.items() if name in case.path_parameters}
            with transaction.atomic():
                case.call_and_validate(headers=headers, checks=checks)
                transaction.set_rollback(True)

        ask()
