"""Attempts with their costs, notes at the top of a page, the log searched, events and files as they are handed out."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from pipeline.api import streams
from pipeline.api.views import logs
from pipeline.models import Artifact, Attempt, CostRecord, Job, LogLine, MetricPoint
from tests.factories import make_attempt
from tests.pipeline.api.conftest import Things


@pytest.fixture
def path(things: Things) -> str:
    return f"/api/jobs/{things.running.pk}/"


def second_attempt(things: Things) -> Attempt:
    """The first one was preempted; the second goes on from step 3."""
    now = timezone.now()
    Attempt.objects.filter(pk=things.attempt.pk).update(
        state="gone", reason="preempted", gone_at=now, gone_evidence="Two looks missed it.", invoiced=Decimal("0.05")
    )
    attempt, _ = make_attempt(things.running, gpu_type="RTX A4000", price_per_hour=Decimal(3600))
    Attempt.objects.filter(pk=attempt.pk).update(metered_until=now - timedelta(seconds=10))
    MetricPoint.objects.filter(job=things.running, step__gte=3).update(attempt=2)
    return attempt


class TestAttempts:
    def test_say_where_each_began_why_it_ended_and_what_it_cost(self, owner, things, path):
        second_attempt(things)
        first, second = owner.api.get(f"{path}attempts/").json()
        assert (first["first_step"], first["last_step"]) == (1, 2)
        assert (first["reason_label"], first["gone_evidence"]) == ("Preempted", "Two looks missed it.")
        assert (first["metered"], first["invoiced"]) == (0.06, 0.05)
        assert (second["first_step"], second["last_step"]) == (3, 4)
        assert (second["gpu_type"], second["invoiced"], second["reason"]) == ("RTX A4000", None, "")
        assert 10 <= second["metered"] < 60  # a dollar a second since the meter was read

    def test_what_a_later_bill_says_is_not_added_to_the_meter(self, owner, things, path):
        now = timezone.now()
        CostRecord.objects.create(
            job=things.running, attempt=things.attempt, kind="invoiced", period_start=now, period_end=now,
            seconds=60, price_per_hour=0, amount="0.05",
        )  # fmt: skip
        assert owner.api.get(f"{path}attempts/").json()[0]["metered"] == 0.06

    def test_many_cost_no_more_queries_than_one(self, owner, things, path, django_assert_max_num_queries):
        for _ in range(4):
            Attempt.objects.filter(job=things.running).update(
                state="gone", reason="preempted", gone_at=timezone.now(), gone_evidence="x"
            )
            make_attempt(things.running)
        with django_assert_max_num_queries(7):
            assert len(owner.api.get(f"{path}attempts/").json()) == 5

    def test_a_job_that_never_started_has_none(self, owner, things):
        assert owner.api.get(f"/api/jobs/{things.saved.pk}/attempts/").json() == []


class TestSituation:
    def test_is_empty_in_good_order_and_for_a_saved_job(self, owner, things, path):
        assert owner.api.get(f"{path}situation/").json() == []
        assert owner.api.get(f"/api/jobs/{things.saved.pk}/situation/").json() == []

    def test_speaks_of_the_limit(self, owner, things, path):
        Job.objects.filter(pk=things.running.pk).update(cost_limit=1, budget_limit=1, current_cost="0.85")
        (note,) = owner.api.get(f"{path}situation/").json()
        assert (note["kind"], note["level"], note["action"]) == ("budget", "warning", "limits")
        assert note["title"] == "80 % of the budget is used"
        assert "$0.85 of $1.00" in note["text"]


class TestLogs:
    @pytest.fixture(autouse=True)
    def two_attempts(self, things):
        def line(attempt: int, n: int, text: str, stream: str) -> LogLine:
            return LogLine(
                job=things.running, attempt=attempt, n=n, seq=100 + n, at=timezone.now(), text=text, stream=stream
            )

        LogLine.objects.bulk_create(
            [
                line(2, 1, "the RuntimeError handler is ready", "program"),
                line(2, 2, "Traceback (most recent call last):", "stderr"),
                line(2, 3, "ValueError: no such line", "stderr"),
                line(2, 4, "number_of_errors: 0, terror averted", "stdout"),
            ]
        )

    def places(self, answer: Any) -> list[tuple[int, int]]:
        return [(place["attempt"], place["n"]) for place in answer.json()["results"]]

    def test_are_read_backwards_across_attempts(self, owner, path):
        found, following = [], {"before_attempt": 2, "before_n": 3}
        while following:
            answer = owner.api.get(f"{path}logs/", following | {"limit": 2})
            found = self.places(answer) + found
            following = answer.json()["next"]
        assert found == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)]

    def test_are_narrowed_to_a_stream(self, owner, path):
        assert self.places(owner.api.get(f"{path}logs/?stream=stderr")) == [(2, 2), (2, 3)]
        answer = owner.api.get(f"{path}logs/?stream=stdin")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "stream")

    def test_both_directions_at_once_are_refused(self, owner, path):
        answer = owner.api.get(f"{path}logs/?after_n=1&before_n=3")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "before_n")

    def test_a_text_is_found_wherever_it_is(self, owner, path):
        answer = owner.api.get(f"{path}logs/places/?q=LINE")
        assert self.places(answer) == [(1, 1), (1, 2), (1, 3), (2, 3)]
        assert answer.json()["more"] is False
        assert self.places(owner.api.get(f"{path}logs/places/?q=line&attempt=2")) == [(2, 3)]

    def test_lines_that_look_like_errors_are_found_and_no_others(self, owner, path):
        assert self.places(owner.api.get(f"{path}logs/places/?problems=true")) == [(2, 1), (2, 2), (2, 3)]
        assert self.places(owner.api.get(f"{path}logs/places/?problems=true&stream=stderr")) == [(2, 2), (2, 3)]

    def test_too_many_places_are_cut_and_said(self, owner, path, monkeypatch):
        monkeypatch.setattr(logs, "MOST_PLACES", 2)
        answer = owner.api.get(f"{path}logs/places/?q=line")
        assert (self.places(answer), answer.json()["more"]) == ([(1, 1), (1, 2)], True)


def text_of(answer: Any) -> str:
    return b"".join(answer.streaming_content).decode()


class TestFiles:
    def test_events_as_csv_and_json_are_the_same(self, owner, things, path, monkeypatch):
        monkeypatch.setattr(streams, "BLOCK", 2)
        listed = owner.api.get(f"{path}events/").json()["results"]
        answer = owner.api.get(f"{path}events.json")
        assert answer["Content-Disposition"] == 'attachment; filename="running-job-events.json"'
        assert json.loads(text_of(answer)) == listed
        rows = list(csv.DictReader(io.StringIO(text_of(owner.api.get(f"{path}events.csv")))))
        assert [(row["seq"], row["message"]) for row in rows] == [(str(e["seq"]), e["message"]) for e in listed]

    def test_a_checkpoint_says_the_loss_at_its_step(self, owner, things, path):
        Artifact.objects.create(
            job=things.running, attempt=things.attempt, kind="checkpoint", name="checkpoint-4.zip", step=4,
            size_bytes=7, sha256="1" * 64, path="elsewhere",
        )  # fmt: skip
        checkpoint, adapter = owner.api.get(f"{path}artifacts/").json()
        # The loss at step 4 was no number; the last one that was one is of step 3.
        assert (checkpoint["loss"], checkpoint["eval_loss"]) == (pytest.approx(2 / 3), None)
        assert (checkpoint["state"], checkpoint["download_url"]) == ("uploading", None)
        assert adapter["loss"] is None
