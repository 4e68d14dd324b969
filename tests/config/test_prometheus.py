from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pipeline.config import prometheus
from pipeline.models import ProcessBeat, ProviderCall
from tests.factories import make_running_job
from tests.fakes.provider import World
from tests.pipeline.conftest import world

__all__ = ["world"]
pytestmark = pytest.mark.django_db
LINE = re.compile(r"stoker_[a-z_]+(\{[a-z_]+=\"[^\"\n]*\"(,[a-z_]+=\"[^\"\n]*\")*\})? \d+(\.\d+)?(e-?\d+)?")
HERE = {"headers": {"host": "127.0.0.1:8000"}}


def read(client: Client | None = None) -> dict[str, float]:
    answer = (client or Client()).get("/metrics", **HERE)
    assert answer.status_code == 200
    lines = answer.content.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_it_speaks_the_text_format(owner: Any, world: World) -> None:
    make_running_job(owner.user)
    answer = Client().get("/metrics", **HERE)
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.content.decode().splitlines()
    for line in lines:
        assert line.startswith(("# HELP stoker_", "# TYPE stoker_")) or LINE.fullmatch(line), line
    typed = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(typed) == len(set(typed))


def test_it_counts_what_there_is(owner: Any, world: World) -> None:
    _, attempt, _ = make_running_job(owner.user)
    ProviderCall.objects.create(attempt=attempt, op="create", outcome="unknown")
    ProcessBeat.objects.create(name="beat", at=timezone.now() - timedelta(seconds=90))
    found = read()
    assert found['stoker_jobs{status="running"}'] == 1
    assert found['stoker_jobs{status="failed"}'] == 0
    assert found['stoker_machines{provider="scripted",kind="job"}'] == 1
    assert found['stoker_provider_calls_last_hour{op="create",outcome="unknown"}'] == 1
    assert found['stoker_process_beat_age_seconds{process="beat"}'] == pytest.approx(90, abs=5)
    assert found["stoker_broker_up"] == 1
    assert found['stoker_spent_usd{span="month"}'] == 0
    assert 'stoker_deliveries{state="dead"}' in found


def test_many_jobs_need_no_more_queries(owner: Any, world: World) -> None:
    make_running_job(owner.user)
    with CaptureQueriesContext(connection) as few:
        read()
    for _ in range(3):
        make_running_job(owner.user)
    with CaptureQueriesContext(connection) as many:
        read()
    assert len(many) == len(few)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"host": "127.0.0.1", "x-forwarded-for": "203.0.113.5"}, "127.0.0.1"),
        ({"host": "127.0.0.1", "forwarded": "for=203.0.113.5"}, "127.0.0.1"),
        ({"host": "testserver"}, "127.0.0.1"),
        ({"host": "127.0.0.1"}, "203.0.113.5"),
        ({"host": "127.0.0.1"}, "unix"),
    ],
)
def test_without_a_token_it_is_there_for_this_machine_alone(headers: dict[str, str], address: str) -> None:
    assert Client().get("/metrics", headers=headers, REMOTE_ADDR=address).status_code == 404


def test_with_a_token_it_is_there_for_whoever_has_it(settings: Any) -> None:
    settings.STOKER_METRICS_TOKEN = "a-token-for-the-monitor"
    assert Client().get("/metrics", **HERE).status_code == 404
    for given, status in (("Bearer a-token-for-the-monitor", 200), ("Bearer anöther", 404), ("Basic x", 404)):
        assert Client().get("/metrics", headers={"authorization": given}).status_code == status


def test_without_a_database_it_says_so(monkeypatch: Any) -> None:
    def broken(*args: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(prometheus.overview, "queue", broken)
    assert Client().get("/metrics", **HERE).status_code == 503


def test_labels_cannot_break_out_of_their_quotes() -> None:
    assert prometheus._shown({"a": 'x"} 1\n\\'}) == r'{a="x\"} 1\n\\"}'
