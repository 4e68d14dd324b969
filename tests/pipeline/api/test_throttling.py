"""The brakes of API and wire, as callers meet them."""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import pytest
from django.core.cache import cache
from rest_framework.test import APIClient

from pipeline import throttles
from pipeline.models import LogLine, MetricPoint
from tests.factories import make_running_job

_addresses = (f"198.51.100.{n}" for n in itertools.count(1))


@pytest.fixture(autouse=True)
def nothing_counted(services: None) -> None:
    cache.clear()
    throttles.reset()


@pytest.fixture
def address() -> str:
    return next(_addresses)


def refused(answer: Any, within: int) -> dict[str, Any]:
    assert answer.status_code == 429, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert 1 <= int(answer["Retry-After"]) <= within
    return answer.json()


def test_a_person_has_so_many_requests_a_minute_over_all_their_programs(owner, stranger, settings):
    settings.STOKER_REQUESTS_PER_MINUTE = 3
    other_program = APIClient()
    other_program.force_login(owner.user)
    assert [owner.api.get("/api/me/").status_code for _ in range(3)] == [200] * 3
    problem = refused(other_program.get("/api/me/"), 60)
    assert problem["code"] == "throttled"
    assert problem["detail"].startswith("Too many requests. Wait ")
    assert stranger.api.get("/api/me/").status_code == 200


def test_what_makes_something_is_counted_beside(owner, settings, job_body):
    settings.STOKER_CREATIONS_PER_MINUTE = 1
    assert owner.api.post("/api/jobs/", job_body).status_code == 201
    refused(owner.api.post("/api/jobs/", job_body), 60)
    assert owner.api.get("/api/jobs/").status_code == 200


def test_without_redis_the_api_is_open(owner, settings, monkeypatch):
    settings.STOKER_REQUESTS_PER_MINUTE = 1
    monkeypatch.setattr(throttles, "_may_ask", lambda: False)
    assert [owner.api.get("/api/me/").status_code for _ in range(3)] == [200] * 3


@pytest.mark.django_db
@pytest.mark.parametrize("redis_there", [True, False])
def test_wrong_tokens_are_counted_by_address_and_right_ones_are_not_held_up(redis_there, monkeypatch, address, things):
    if not redis_there:
        monkeypatch.setattr(throttles, "_may_ask", lambda: False)
    caller = APIClient(REMOTE_ADDR=address)
    for _ in range(60):
        assert caller.get("/api/me/", HTTP_AUTHORIZATION="Bearer stk_u_wrong").status_code == 401
    refused(caller.get("/api/me/", HTTP_AUTHORIZATION="Bearer stk_u_wrong"), 300)
    assert caller.get("/api/me/", HTTP_AUTHORIZATION=f"Bearer {things.token_text}").status_code == 200


# The wire


def send(job: Any, token: str, part: str, body: Any, client: APIClient | None = None) -> Any:
    return (client or APIClient()).post(
        f"/api/training/jobs/{job.pk}/{part}",
        json.dumps(body),
        content_type="application/json",
        HTTP_AUTHORIZATION=f"Bearer {token}",
    )


def test_a_flood_of_one_attempt_is_told_to_wait_and_others_are_not(owner, settings):
    settings.STOKER_EVENTS_PER_MINUTE = 200
    (job, _, token), (other, _, other_token) = make_running_job(owner.user), make_running_job(owner.user)
    points = [{"step": step, "loss": 1.0} for step in range(1, 101)]
    assert send(job, token, "metrics", points).status_code == 200
    problem = refused(send(job, token, "metrics", [{"step": step, "loss": 1.0} for step in range(101, 201)]), 60)
    assert problem["code"] == "too_many"
    assert MetricPoint.objects.filter(job=job).count() == 100  # what was refused was not stored: it comes again
    assert send(other, other_token, "metrics", points).status_code == 200


def test_log_lines_count_like_points(owner, settings):
    settings.STOKER_EVENTS_PER_MINUTE = 100
    job, _, token = make_running_job(owner.user)
    lines = [{"n": n, "t": 1.0, "kind": "log", "data": {"text": "x", "stream": "program"}} for n in range(1, 91)]
    assert send(job, token, "events", {"events": lines}).status_code == 200
    refused(send(job, token, "events", {"events": lines}), 60)
    assert LogLine.objects.filter(job=job).count() == 90


def test_without_redis_the_wire_is_open(owner, settings, monkeypatch):
    settings.STOKER_EVENTS_PER_MINUTE = 1
    monkeypatch.setattr(throttles, "_may_ask", lambda: False)
    job, _, token = make_running_job(owner.user)
    assert send(job, token, "metrics", {"step": 1, "loss": 1.0}).status_code == 200


@pytest.mark.django_db
def test_unknown_job_tokens_are_counted_by_address_and_known_ones_pass(owner, address, monkeypatch):
    monkeypatch.setattr("pipeline.wire.floods.STRANGERS", throttles.Limit("stranger", 3, 300))
    job, _, token = make_running_job(owner.user)
    caller = APIClient(REMOTE_ADDR=address)
    for _ in range(3):
        assert send(job, "stk_j_wrong", "metrics", {"step": 1}, caller).status_code == 401
    refused(send(job, "stk_j_wrong", "metrics", {"step": 1}, caller), 300)
    refused(caller.post(f"/api/training/callbacks/{uuid.uuid4()}", {}), 300)
    assert send(job, token, "metrics", {"step": 1, "loss": 1.0}, caller).status_code == 200
