"""The address at which a cluster calls back: who gets in, what is taken, and that it is a hint and nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from pipeline.callback_tokens import attempt_of, callback_url
from pipeline.config.logs import redact
from pipeline.models import Attempt, Job
from pipeline.states import AttemptState, JobStatus
from tests.factories import make_running_job
from tests.fakes.cluster import FakeCluster
from tests.pipeline.rented_cluster import cluster_of, submitted
from tests.pipeline.steps import look, shift
from tests.waiting import until

pytestmark = pytest.mark.django_db

RUNNING = {"status": "running", "current_step": 5, "current_epoch": 0.5, "progress": 10, "metrics": {"loss": 1.5}}


@pytest.fixture
def cluster(owner: Any, settings: Any) -> Iterator[FakeCluster]:
    with cluster_of(owner.user, settings, idempotent=False) as fake:
        yield fake


@pytest.fixture
def running(owner: Any, cluster: FakeCluster) -> tuple[Job, Attempt]:
    return submitted(owner.user)


def address(attempt: Attempt) -> str:
    return callback_url(attempt).partition("/api/")[2].join(("/api/", ""))


def call(attempt: Attempt, body: Any, client: Client | None = None) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return (client or Client()).post(address(attempt), text, content_type="application/json")


class TestWhoGetsIn:
    def test_whoever_knows_the_address_and_nobody_else(
        self, running: tuple[Job, Attempt], owner: Any, stranger: Any, signed_out: Any
    ) -> None:
        _, attempt = running
        right = address(attempt)
        for person in (owner, stranger, signed_out):
            assert call(attempt, RUNNING, person.browser).status_code == 200, "the address is the key"
            for wrong in (right[:-1] + ("A" if right[-1] != "A" else "B"), right[:-2], f"{right}x"):
                answer = person.browser.post(wrong, json.dumps(RUNNING), content_type="application/json")
                assert answer.status_code == 404
                assert answer.headers["Content-Type"] == "application/problem+json"

    def test_an_address_is_good_for_one_attempt(self, running: tuple[Job, Attempt], owner: Any) -> None:
        _, other = submitted(owner.user)
        mixed = address(running[1]).replace(running[1].pk.hex, other.pk.hex)
        assert Client().post(mixed, "{}", content_type="application/json").status_code == 404
        assert call(running[1], RUNNING | {"job_id": other.name}).status_code == 422

    def test_an_attempt_that_has_ended_takes_nothing(self, running: tuple[Job, Attempt], cluster: FakeCluster) -> None:
        job, attempt = running
        cluster.change(attempt.name, status="completed", current_step=0)
        assert look(job).status == JobStatus.COMPLETED
        assert call(attempt, RUNNING).status_code == 410
        assert not job.metric_points.exists()

    def test_other_verbs_and_bodies_are_refused_with_a_sentence(self, running: tuple[Job, Attempt]) -> None:
        assert Client().get(address(running[1])).status_code == 405
        for body, status in (("[1]", 422), ("7", 422), ("{", 400), (b"\xff", 400), ("", 400)):
            answer = call(running[1], body)
            assert answer.status_code == status, body
            assert answer.json()["detail"].endswith(".")

    def test_a_former_key_of_the_server_still_counts(self, running: tuple[Job, Attempt], settings: Any) -> None:
        before = callback_url(running[1]).rpartition("/")[2]
        settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another " * 8
        assert attempt_of(before) == running[1]
        settings.SECRET_KEY_FALLBACKS = []
        assert attempt_of(before) is None

    def test_a_provider_that_does_not_call_back_has_no_such_address(
        self, owner: Any, settings: Any, world: Any
    ) -> None:
        _, attempt, _ = make_running_job(owner.user)
        assert call(attempt, RUNNING).status_code == 422

    def test_no_log_line_holds_it(self, running: tuple[Job, Attempt]) -> None:
        url = callback_url(running[1])
        assert url.rpartition("stk_c_")[2] not in redact(f"POST {url} 200")
        assert running[1].pk.hex not in redact(f"POST {url} 200")


class TestWhatIsTaken:
    def test_progress_is_stored_as_from_a_look_and_repeats_change_nothing(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        for body in (RUNNING, RUNNING, RUNNING | {"metrics": {"loss": 9.9}}, RUNNING | {"current_step": 4}):
            assert call(attempt, body).status_code == 200
        job.refresh_from_db()
        assert [(point.step, point.loss) for point in job.metric_points.all()] == [(5, 1.5)]
        assert (job.status, job.progress) == (JobStatus.RUNNING, 10)

    def test_the_cluster_itself_is_asked_soon_however_often_it_calls(self, running: tuple[Job, Attempt]) -> None:
        job, attempt = running
        Job.objects.filter(pk=job.pk).update(next_check_at=Now() + timedelta(hours=1))
        for _ in range(3):
            call(attempt, RUNNING)
        job.refresh_from_db()
        assert job.next_check_at is not None
        assert job.next_check_at < timezone.now() + timedelta(seconds=2)

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "exploding", None])
    def test_nothing_ends_on_its_word(self, running: tuple[Job, Attempt], status: Any) -> None:
        job, attempt = running
        assert call(attempt, {"status": status, "error": "It is over"}).status_code == 200
        job.refresh_from_db()
        attempt.refresh_from_db()
        assert job.is_active
        assert attempt.state == AttemptState.LIVE

    def test_a_lost_answer_is_known_when_the_job_names_its_id(self, owner: Any, cluster: FakeCluster) -> None:
        cluster.fault("submit", "lost")
        _, attempt = submitted(owner.user)
        external_id = cluster.named(attempt.name)[0]["id"]
        assert call(attempt, RUNNING | {"external_job_id": "c-nothing"}).status_code == 200
        attempt.refresh_from_db()
        assert attempt.state == AttemptState.INTENT, "the cluster knows no such job"
        assert call(attempt, RUNNING | {"external_job_id": external_id}).status_code == 200
        attempt.refresh_from_db()
        assert (attempt.state, attempt.external_id) == (AttemptState.LIVE, external_id)
        assert cluster.count("submit") == 1


def test_a_job_at_a_cluster_from_beginning_to_end(owner: Any, cluster: FakeCluster) -> None:
    cluster.history = True
    job, _ = submitted(owner.user, max_steps=20, logging_steps=1)
    until(lambda: look(job).status == JobStatus.COMPLETED, 15, "the job to complete")
    assert list(job.metric_points.order_by("step").values_list("step", flat=True)) == list(range(1, 21))
    assert (job.current_step, job.total_steps) == (20, 20)
    assert job.price_per_hour == Decimal("3.6"), "as the account says: the cluster tells no price"


def test_waiting_in_the_clusters_queue_costs_no_money_and_no_running_time(owner: Any, cluster: FakeCluster) -> None:
    job, attempt = submitted(owner.user)
    cluster.change(attempt.name, status="queued", current_step=0, metrics={})
    look(job)
    shift(attempt, metered_until=timedelta(hours=2), machine_seen_at=timedelta(hours=23))
    assert look(job).status == JobStatus.INITIALIZING
    cluster.change(attempt.name, status="running")
    look(job)
    shift(attempt, metered_until=timedelta(seconds=1000))
    assert look(job).stop_reason == ""
    assert Decimal("0.99") < job.current_cost < Decimal("1.02"), "1,000 s at 3.60 an hour"


def test_cancelled_is_said_when_the_cluster_says_so(owner: Any, cluster: FakeCluster) -> None:
    from pipeline.services.jobs import request_cancel

    job, attempt = submitted(owner.user)
    cluster.change(attempt.name, status="running")
    request_cancel(job.pk)
    for _ in range(3):
        assert look(job).status == JobStatus.CANCELLING, "it still runs"
    assert cluster.count("cancel") >= 1
    cluster.change(attempt.name, status="cancelled")
    assert look(job).status == JobStatus.CANCELLED
