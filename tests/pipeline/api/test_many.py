"""Many jobs at once: cancelled with one order, compared on one chart, and listed in one file."""

from __future__ import annotations

import csv
import io
import math
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from pipeline.models import Job, MetricPoint
from pipeline.states import JobStatus
from tests.factories import make_job, make_running_job
from tests.pipeline.api.conftest import Things


def trained(owner: Any, losses: list[float], name: str = "run", **extra: float) -> Job:
    """A running job with a point a step, ten seconds apart, and one evaluation at its end."""
    job, *_ = make_running_job(owner)
    now = timezone.now()
    MetricPoint.objects.bulk_create(
        MetricPoint(
            job=job, step=n, seq=n, attempt=1, at=now + timedelta(seconds=10 * n), epoch=n / 10, loss=loss,
            tokens_per_second=200.0, elapsed_seconds=10.0 * n, eval_loss=loss + 0.5 if n == len(losses) else None,
            extra={"num_tokens": 1000.0 * n, **extra},
        )
        for n, loss in enumerate(losses, 1)
    )  # fmt: skip
    newest = {"loss": losses[-1], "eval_loss": losses[-1] + 0.5, "num_tokens": 1000 * len(losses), **extra}
    Job.objects.filter(pk=job.pk).update(name=name, current_metrics=newest, current_cost="0.02")
    job.refresh_from_db()
    return job


def compare(person: Any, *jobs: Any, **query: Any) -> Any:
    ids = ",".join(str(getattr(job, "pk", job)) for job in jobs)
    return person.api.get("/api/jobs/compare/", {"ids": ids, **query})


class TestCancel:
    def order(self, person: Any, *ids: Any) -> Any:
        return person.api.post("/api/jobs/cancel/", {"ids": [str(one) for one in ids]}, format="json")

    def test_each_job_gets_an_answer_of_its_own(self, owner: Any, stranger: Any) -> None:
        going, *_ = make_running_job(owner.user)
        foreign, *_ = make_running_job(stranger.user)
        saved, nowhere = make_job(owner.user), uuid4()
        answer = self.order(owner, going.pk, foreign.pk, saved.pk, nowhere, going.pk)
        assert answer.status_code == 200
        body = answer.json()
        assert body["ordered"] == 1
        assert [(one["id"], one["result"], one["code"]) for one in body["results"]] == [
            (str(going.pk), "ordered", ""), (str(foreign.pk), "not_found", "not_found"),
            (str(saved.pk), "refused", "not_started"), (str(nowhere), "not_found", "not_found"),
        ]  # fmt: skip
        assert "Delete it instead" in body["results"][2]["message"]
        going.refresh_from_db()
        foreign.refresh_from_db()
        assert (going.status, foreign.status) == (JobStatus.CANCELLING, JobStatus.RUNNING)
        assert going.events.filter(actor="owner", data__stop="cancelled_by_user").exists()

    def test_asking_again_is_harmless(self, owner: Any) -> None:
        job, *_ = make_running_job(owner.user)
        self.order(owner, job.pk)
        assert self.order(owner, job.pk).json()["results"][0]["result"] == "ordered_before"

    @pytest.mark.parametrize("ids", [[], ["x"], None, [str(uuid4())] * 201])
    def test_nonsense_is_named(self, owner: Any, ids: Any) -> None:
        answer = owner.api.post("/api/jobs/cancel/", {"ids": ids}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["field"].split(".")[0]) == (400, "ids")

    def test_two_hundred_stops_are_stored_within_seconds(self, owner: Any) -> None:
        dataset = make_running_job(owner.user)[0].dataset
        jobs = [
            Job(
                owner=owner.user, name="x", dataset=dataset, base_model="a/b", hyperparameters={}, provider="scripted",
                status="running", next_check_at=timezone.now(),
            )
            for _ in range(200)
        ]  # fmt: skip
        Job.objects.bulk_create(jobs)
        began = time.monotonic()
        assert self.order(owner, *(job.pk for job in jobs)).json()["ordered"] == 200
        assert time.monotonic() - began < 10


class TestCompare:
    def test_curves_axes_and_results_of_each_job_in_the_order_asked_for(self, owner: Any) -> None:
        first, second = trained(owner.user, [3.0, 2.0, 2.5], "a"), trained(owner.user, [1.0, 0.5], "b")
        body = compare(owner, second, first).json()
        assert [job["name"] for job in body["jobs"]] == ["b", "a"]
        b, a = body["jobs"]
        assert a["series"] == {
            "loss": {"step": [1, 2, 3], "value": [3.0, 2.0, 2.5]}, "eval_loss": {"step": [3], "value": [3.0]},
        }  # fmt: skip
        assert a["axes"]["epoch"]["value"] == [0.1, 0.2, 0.3]
        assert a["axes"]["num_tokens"]["value"] == [1000, 2000, 3000]
        assert a["axes"]["seconds"] == {"step": [1, 2, 3], "value": [0, 10, 20]}
        assert (a["points"], a["downsampled"], a["seq"]) == (3, False, first.event_seq)
        came = a["results"]
        assert (came["loss"], came["best_loss"], came["eval_loss"], came["best_eval_loss"]) == (2.5, 2.0, 3.0, 3.0)
        assert (came["tokens"], came["tokens_per_second"]) == (3000, 200.0)
        assert math.isclose(float(came["cost_per_million_tokens"]), float(came["cost"]) / 0.003, rel_tol=1e-3)
        assert b["results"]["best_loss"] == 0.5

    def test_any_metric_and_how_many_jobs_have_it(self, owner: Any) -> None:
        one, other = trained(owner.user, [1.0], entropy=0.25), trained(owner.user, [1.0])
        body = compare(owner, one, other, names="entropy,epoch").json()
        assert [sorted(job["series"]) for job in body["jobs"]] == [["entropy", "epoch"], ["epoch"]]
        assert body["jobs"][0]["series"]["entropy"]["value"] == [0.25]
        assert (body["names"]["loss"], body["names"]["entropy"]) == (2, 1)
        assert list(body["names"])[-1] == "entropy"

    def test_long_runs_are_thinned_and_keep_their_peaks(self, owner: Any) -> None:
        losses = [1.0] * 3000
        losses[1500] = 9.0
        job = trained(owner.user, losses)
        found = compare(owner, job, points=100).json()["jobs"][0]
        assert len(found["series"]["loss"]["step"]) <= 100
        assert 9.0 in found["series"]["loss"]["value"]
        assert len(found["axes"]["seconds"]["step"]) <= 100
        assert (found["points"], found["downsampled"]) == (3000, True)

    def test_a_job_without_points_is_there_and_empty(self, owner: Any) -> None:
        found = compare(owner, make_job(owner.user)).json()["jobs"][0]
        assert (found["series"], found["axes"], found["began"]) == ({}, {}, None)
        assert found["results"]["cost_per_million_tokens"] is None

    def test_others_jobs_do_not_exist(self, owner: Any, stranger: Any) -> None:
        mine, theirs = trained(owner.user, [1.0]), trained(stranger.user, [1.0])
        assert compare(owner, mine, theirs).status_code == 404
        assert compare(owner, mine, uuid4()).status_code == 404

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ({"ids": ""}, "ids"), ({"ids": "x"}, "ids"), ({"ids": ",".join(str(uuid4()) for _ in range(21))}, "ids"),
            ({"ids": str(uuid4()), "points": 5}, "points"), ({"ids": str(uuid4()), "names": "a b"}, "names"),
        ],
    )  # fmt: skip
    def test_nonsense_is_named(self, owner: Any, query: dict[str, Any], field: str) -> None:
        answer = owner.api.get("/api/jobs/compare/", query)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)

    def test_eight_jobs_cost_as_many_queries_as_one(self, owner: Any, django_assert_num_queries: Any) -> None:
        jobs = [trained(owner.user, [2.0, 1.0]) for _ in range(8)]
        with django_assert_num_queries(4):
            assert len(compare(owner, *jobs).json()["jobs"]) == 8


class TestList:
    def test_the_file_has_the_filters_of_the_list(self, owner: Any, things: Things) -> None:
        rows = list(csv.DictReader(io.StringIO(owner.api.get("/api/jobs.csv?status=running").getvalue().decode())))
        assert [(row["name"], row["status"], row["progress"]) for row in rows] == [("Rünning job", "running", "50.0")]
        assert len(owner.api.get("/api/jobs.csv").getvalue().decode().splitlines()) == 3

    def test_names_are_no_formulas(self, owner: Any) -> None:
        make_job(owner.user, name="=cmd()")
        assert "'=cmd()" in owner.api.get("/api/jobs.csv").getvalue().decode()

    def test_filters_by_model_day_and_ids(self, owner: Any) -> None:
        old, new = make_job(owner.user, name="old"), make_job(owner.user, name="new", base_model="org/other")
        Job.objects.filter(pk=old.pk).update(created_at="2026-03-01T23:30Z")

        def names(**query: str) -> list[str]:
            return [row["name"] for row in owner.api.get("/api/jobs/", query).json()["results"]]

        assert names(base_model="org/other") == ["new"]
        assert names(created_to="2026-03-01") == ["old"]
        assert names(created_from="2026-03-02") == ["new"]
        assert names(ids=f"{old.pk},{uuid4()}") == ["old"]
        assert names(ids=f"{old.pk},{new.pk}") == ["new", "old"]

    @pytest.mark.parametrize("query", ["ids=x", "created_from=x", "created_to=0001-01-01"])
    def test_nonsense_is_named(self, owner: Any, query: str) -> None:
        assert owner.api.get(f"/api/jobs/?{query}").json()["errors"][0]["field"] == query.split("=")[0]
