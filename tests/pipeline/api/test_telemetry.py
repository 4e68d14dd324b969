"""What a run left, over the API: events, log, samples, files, costs, metrics as files."""

from __future__ import annotations

import csv
import io
import json

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient
from django.utils import timezone

from pipeline.api import streams
from pipeline.models import Artifact, CostRecord, EventType, LogLine, MetricPoint
from pipeline.transitions import record_event
from tests.factories import make_attempt


@pytest.fixture
def path(things):
    return f"/api/jobs/{things.running.pk}/"


def text_of(answer):
    assert answer.status_code == 200
    return b"".join(answer.streaming_content).decode()


class TestEvents:
    def test_are_read_forwards_page_by_page(self, owner, things, path):
        for number in range(4):
            record_event(things.running.pk, EventType.STAGE, f"stage {number}")
        first = owner.api.get(f"{path}events/?limit=3").json()
        second = owner.api.get(f"{path}events/?limit=3&after={first['next_after']}").json()
        assert [event["seq"] for event in first["results"] + second["results"]] == [1, 2, 3, 4, 5]
        assert second["next_after"] is None
        assert set(first["results"][0]) == {"seq", "kind", "level", "message", "data", "attempt", "actor", "at"}

    def test_can_be_of_one_kind(self, owner, things, path):
        record_event(things.running.pk, EventType.STAGE, "stage")
        assert [e["message"] for e in owner.api.get(f"{path}events/?kind=stage").json()["results"]] == ["stage"]

    @pytest.mark.parametrize("query", ["after=-1", "after=x", "after=" + "9" * 30, "limit=0", "limit=1001", "kind=x"])
    def test_a_wrong_parameter_is_refused(self, owner, path, query):
        answer = owner.api.get(f"{path}events/?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, query.partition("=")[0])


class TestLogs:
    @pytest.fixture(autouse=True)
    def second_attempt(self, things):
        things.running.attempts.update(state="gone", gone_at=timezone.now(), gone_evidence="x", reason="preempted")
        make_attempt(things.running)
        LogLine.objects.bulk_create(
            LogLine(job=things.running, attempt=2, n=n, seq=10 + n, at=timezone.now(), text=f"again {n} 100%")
            for n in range(1, 4)
        )

    def lines(self, answer):
        return [(line["attempt"], line["n"]) for line in answer.json()["results"]]

    def test_the_newest_lines_come_without_a_position(self, owner, path):
        answer = owner.api.get(f"{path}logs/?limit=4")
        assert self.lines(answer) == [(1, 3), (2, 1), (2, 2), (2, 3)]
        assert answer.json()["next"] is None

    def test_are_read_forwards_across_attempts(self, owner, path):
        found, following = [], {"after_attempt": 1, "after_n": 0}
        while following:
            answer = owner.api.get(f"{path}logs/", following | {"limit": 2})
            found += self.lines(answer)
            following = answer.json()["next"]
        assert found == [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("attempt=2", 3),
            ("attempt=2&after_n=1", 2),
            ("attempt=3", 0),
            ("q=line", 3),
            ("q=100%25", 3),
            ("q=_", 0),
            ("q=", 6),
        ],
    )
    def test_can_be_narrowed(self, owner, path, query, count):
        assert len(self.lines(owner.api.get(f"{path}logs/?{query}"))) == count

    @pytest.mark.parametrize("query", ["after_n=-1", "attempt=0", "attempt=99999", "limit=0", "q=a%00", "download=x"])
    def test_a_wrong_parameter_is_refused(self, owner, path, query):
        answer = owner.api.get(f"{path}logs/?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, query.partition("=")[0])

    def test_can_be_downloaded_whole(self, owner, path, monkeypatch):
        monkeypatch.setattr(streams, "BLOCK", 2)
        answer = owner.api.get(f"{path}logs/?download=1")
        assert answer["Content-Type"] == "text/plain; charset=utf-8"
        assert answer["Content-Disposition"] == 'attachment; filename="running-job.log"'
        lines = text_of(answer).splitlines()
        assert [line.split(" ", 3)[1:] for line in lines[2:4]] == [
            ["a1", "stdout", "line 3"],
            ["a2", "stdout", "again 1 100%"],
        ]
        assert len(lines) == 6


class TestMetricFiles:
    @pytest.fixture(autouse=True)
    def odd_names(self, things, monkeypatch):
        monkeypatch.setattr(streams, "BLOCK", 2)
        MetricPoint.objects.create(
            job=things.running, step=9, seq=9, attempt=1, at=timezone.now(), loss=-1.5, extra={"=cmd()": 1.0, "-x": 2.0}
        )

    def test_csv_holds_every_step_and_name(self, owner, path):
        answer = owner.api.get(f"{path}metrics.csv", headers={"Accept": "text/csv"})
        assert answer["Content-Disposition"] == 'attachment; filename="running-job-metrics.csv"'
        rows = list(csv.DictReader(io.StringIO(text_of(answer))))
        assert [row["step"] for row in rows] == ["1", "2", "3", "4", "9"]
        assert [row["loss"] for row in rows] == ["2.0", "1.0", "0.6666666666666666", "NaN", "-1.5"]
        assert rows[0]["entropy"] == "0.5"

    def test_csv_has_no_text_that_a_spreadsheet_would_run(self, owner, path):
        heading = next(csv.reader(io.StringIO(text_of(owner.api.get(f"{path}metrics.csv")))))
        assert heading[-3:] == ["'-x", "'=cmd()", "entropy"]

    def test_json_holds_the_same_points(self, owner, path):
        points = json.loads(text_of(owner.api.get(f"{path}metrics.json")))
        assert [point["step"] for point in points] == [1, 2, 3, 4, 9]
        assert points[3]["loss"] == "NaN"

    def test_a_job_without_metrics_gives_an_empty_list(self, owner, things):
        assert json.loads(text_of(owner.api.get(f"/api/jobs/{things.saved.pk}/metrics.json"))) == []

    def test_are_streamed_by_an_asynchronous_server_too(self, owner, things, path):
        client = AsyncClient()
        client.cookies = owner.browser.cookies

        async def read() -> str:
            answer = await client.get(f"{path}metrics.json")
            return b"".join([part async for part in answer.streaming_content]).decode()

        assert len(json.loads(async_to_sync(read)())) == 5


class TestTheRest:
    def test_samples(self, owner, path):
        assert owner.api.get(f"{path}samples/").json()[0]["expected"] == "hello"

    def test_costs(self, owner, path):
        body = owner.api.get(f"{path}costs/").json()
        assert (body["count"], body["results"][0]["amount"]) == (1, 0.06)

    def test_many_artifacts_need_no_more_queries_than_one(self, owner, things, path, django_assert_max_num_queries):
        for number in range(5):
            Artifact.objects.create(
                job=things.running, attempt=things.attempt, kind="checkpoint", name=f"c{number}", size_bytes=1,
                sha256="0" * 64, path=f"c{number}",
            )  # fmt: skip
        with django_assert_max_num_queries(4):
            assert len(owner.api.get(f"{path}artifacts/").json()) == 6

    def test_a_stored_file_leads_to_a_signed_link(self, owner, signed_out, path):
        (file,) = owner.api.get(f"{path}artifacts/").json()
        answer = owner.api.get(file["download_url"])
        assert answer.status_code == 302
        link = signed_out.browser.get(answer.url.replace("http://127.0.0.1:8000", ""))
        assert b"".join(link.streaming_content) == b"adapter"
        assert 'filename="running-job-adapter.zip"' in link["Content-Disposition"]

    def test_a_file_that_is_not_there_yet_says_so(self, owner, things, path):
        Artifact.objects.update(state="uploading", stored_at=None)
        (file,) = owner.api.get(f"{path}artifacts/").json()
        assert file["download_url"] is None
        answer = owner.api.get(f"/api/artifacts/{file['id']}/download/")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_stored")

    def test_many_cost_records_need_no_more_queries(self, owner, things, path, django_assert_max_num_queries):
        start = timezone.now()
        for minute in range(1, 9):
            begin = start + timezone.timedelta(minutes=minute)
            CostRecord.objects.create(
                job=things.running, attempt=things.attempt, period_start=begin, period_end=begin, seconds=0,
                price_per_hour=1, amount=0,
            )  # fmt: skip
        with django_assert_max_num_queries(5):
            assert owner.api.get(f"{path}costs/").json()["count"] == 9
