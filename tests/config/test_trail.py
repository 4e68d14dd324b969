"""Every request has an id; log lines say which request and which job they are about, in background tasks too."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import AsyncClient, Client

from celery_app import app
from pipeline import leases, trail
from pipeline.config import trailing
from pipeline.config.logs import JsonLines, TextLines
from pipeline.models import Job
from pipeline.states import JobStatus
from tests.factories import make_running_job
from tests.pipeline.conftest import world

__all__ = ["world"]
logger = logging.getLogger("tests.trail")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield stream
    logger.removeHandler(handler)


def test_a_request_keeps_the_id_it_came_with() -> None:
    assert Client().get("/healthz", headers={"X-Request-ID": "proxy-1.a_b"})["X-Request-ID"] == "proxy-1.a_b"


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "-x", "ä"])
def test_a_bad_or_missing_id_is_replaced(given: str) -> None:
    answer = Client().get("/healthz", headers={"X-Request-ID": given})
    assert len(answer["X-Request-ID"]) == 32
    assert answer["X-Request-ID"] != given


async def test_the_id_is_there_when_the_server_works_in_a_loop() -> None:
    answer = await AsyncClient().get("/healthz", headers={"X-Request-ID": "loop-1"})
    assert answer["X-Request-ID"] == "loop-1"
    assert trail.request_id() == ""


def test_refusals_bear_it_too() -> None:
    answer = Client().get("/api/nowhere/", headers={"X-Request-ID": "lost-1"})
    assert (answer.status_code, answer["X-Request-ID"]) == (404, "lost-1")


def test_log_lines_say_what_they_are_about(lines: io.StringIO) -> None:
    logger.info("before")
    with trail.of_request("r1"), trail.of_job("j1"):
        logger.info("within")
        text = TextLines().format(logging.LogRecord("x", 20, "", 1, "hello", None, None))
    logger.info("after")
    before, within, after = map(json.loads, lines.getvalue().splitlines())
    assert (within["request"], within["job"]) == ("r1", "j1")
    assert "request" not in before | after
    assert text.endswith("hello [request r1] [job j1]")


@pytest.mark.django_db
def test_whoever_looks_after_a_job_logs_in_its_name(owner: Any, world: Any, lines: io.StringIO) -> None:
    job, *_ = make_running_job(owner.user)
    token = leases.claim(job.pk, JobStatus.RUNNING)
    assert token is not None
    with leases.looking_after(job.pk, token):
        logger.info("looking")
    assert json.loads(lines.getvalue())["job"] == str(job.pk)
    assert trail.job_id() == ""
    assert Job.objects.get(pk=job.pk).lease_token is None


def test_a_task_knows_the_request_that_led_to_it_and_its_job() -> None:
    seen: list[tuple[str, str]] = []

    @app.task(name="tests.trail.look")
    def look(job_id: str) -> None:
        seen.append((trail.request_id(), trail.job_id()))

    headers: dict[str, Any] = {}
    with trail.of_request("r7"):
        trailing._hand_on(headers=headers)
    assert headers == {trailing.TASK_HEADER: "r7"}
    job = str(uuid4())
    look.apply(args=[job], headers=headers)
    look.apply(args=["no id"])
    assert seen == [("r7", job), ("", "")]
    assert (trail.request_id(), trail.job_id()) == ("", "")
