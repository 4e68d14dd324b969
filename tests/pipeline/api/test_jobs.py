"""Jobs over the API: what is answered, what is refused, and that asking again is harmless."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.files.storage import storages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pipeline.api.serializers.jobs import JobSerializer
from pipeline.live.state import job_state
from pipeline.models import Job, Preset
from tests.factories import make_job, make_running_job
from tests.pipeline.api.conftest import fill

LIST = "/api/jobs/"


def problem_of(response, status):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "errors"}
    assert body["status"] == status
    assert all(set(one) == {"field", "line", "code", "message"} for one in body["errors"])
    return body


def messages_of(response):
    return {one["field"]: one["message"] for one in problem_of(response, 400)["errors"]}


class TestList:
    def test_shows_the_live_fields_of_ones_own_jobs_newest_first(self, owner, stranger, things):
        make_job(stranger.user)
        body = owner.api.get(LIST).json()
        assert [row["id"] for row in body["results"]] == [str(things.saved.pk), str(things.running.pk)]
        assert set(body["results"][0]) == set(job_state(things.saved))
        assert body["count"] == 2
        assert body["next"] is None

    def test_the_documented_fields_are_the_live_fields(self, things):
        assert set(JobSerializer().fields) == set(job_state(things.saved))

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("status=pending", ["saved job"]),
            ("status=pending&status=running", ["saved job", "Rünning job"]),
            ("status=pending,running", ["saved job", "Rünning job"]),
            ("status=failed", []),
            ("provider=scripted&search=saved", ["saved job"]),
            ("provider=local", []),
            ("search=smollm2", ["saved job", "Rünning job"]),
            ("search=%25", []),
            ("ordering=name", ["Rünning job", "saved job"]),
            ("ordering=progress", ["saved job", "Rünning job"]),
            ("page=2&page_size=1", ["Rünning job"]),
        ],
    )
    def test_filters_sorts_and_pages(self, owner, things, query, names):
        answer = owner.api.get(f"{LIST}?{query}")
        assert [row["name"] for row in answer.json()["results"]] == names

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("status=sleeping", "status"),
            ("ordering=owner__password", "ordering"),
            ("dataset=x", "dataset"),
            ("search=a%00b", "search"),
            ("page_size=0", "page_size"),
            ("page_size=1000", "page_size"),
            ("page_size=x", "page_size"),
        ],
    )
    def test_a_wrong_filter_is_refused_and_not_ignored(self, owner, query, field):
        assert list(messages_of(owner.api.get(f"{LIST}?{query}"))) == [field]

    @pytest.mark.parametrize("page", ["0", "99", "x", "9" * 40])
    def test_a_page_that_is_not_there(self, owner, page):
        assert "page" in problem_of(owner.api.get(f"{LIST}?page={page}"), 404)["detail"]

    def test_many_jobs_need_no_more_queries_than_one(self, owner):
        make_running_job(owner.user)
        owner.api.get(LIST)
        with CaptureQueriesContext(connection) as one:
            owner.api.get(LIST)
        for _ in range(8):
            make_running_job(owner.user)
        with CaptureQueriesContext(connection) as many:
            assert len(owner.api.get(LIST).json()["results"]) == 9
        assert len(many) == len(one)
        assert len(many) <= 4  # session, user, count, page


class TestDetail:
    def test_holds_configuration_metrics_and_costs(self, owner, things):
        body = owner.api.get(f"{LIST}{things.running.pk}/").json()
        assert body["status"] == "running"
        assert body["configuration"]["dataset"]["name"] == things.running.dataset.name
        assert body["configuration"]["gpu_config"]["type"] == "box"
        assert [point["step"] for point in body["metrics"]] == [1, 2, 3, 4]
        assert body["metrics"][0]["loss"] == 2.0
        assert body["metrics"][0]["entropy"] == 0.5
        assert body["metrics"][3]["loss"] == "NaN"
        assert body["cost_records"][0]["amount"] == 0.06
        assert body["attempts"][0]["state"] == "live"

    def test_needs_as_many_queries_for_a_long_run_as_for_a_short_one(self, owner):
        short, long = make_running_job(owner.user)[0], make_running_job(owner.user)[0]
        fill(short, points=1)
        fill(long, points=50)
        counts = []
        for job in (short, long):
            with CaptureQueriesContext(connection) as queries:
                owner.api.get(f"{LIST}{job.pk}/")
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 7

    def test_a_job_that_does_not_exist(self, owner):
        assert problem_of(owner.api.get(f"{LIST}{uuid4()}/"), 404)["code"] == "not_found"


class TestCreate:
    def test_saves_a_job_with_the_default_preset(self, owner, job_body):
        answer = owner.api.post(LIST, job_body, format="json")
        assert answer.status_code == 201
        assert answer["Location"] == f"/api/jobs/{answer.json()['id']}/"
        job = Job.objects.get()
        assert job.owner == owner.user
        assert job.status == "pending"
        assert job.preset == Preset.objects.get(slug="balanced")
        assert job.gpu_type == "box"

    def test_takes_everything_a_person_can_choose(self, owner, job_body):
        body = job_body | {
            "preset": "quick-test",
            "hyperparameters": {"r": 4},
            "gpu_config": {"provider": "scripted", "type": "box", "count": 2, "cloud": ""},
            "budget_limit": 12.5,
            "max_duration": 3600,
            "priority": 5,
            "retry_policy": {"max_attempts": 2},
            "start": True,
        }
        answer = owner.api.post(LIST, body, format="json")
        assert answer.status_code == 201, answer.content
        job = Job.objects.get()
        assert job.status == "queued"
        assert job.hyperparameters["r"] == 4
        assert job.hyperparameters["max_steps"] == 40
        assert (job.gpu_count, job.budget_limit, job.max_duration) == (2, Decimal("12.50"), 3600)
        assert (job.priority, job.max_attempts) == (5, 2)
        assert answer.json()["price_per_hour"] == pytest.approx(7.2)

    def test_without_a_preset_the_tables_defaults_hold(self, owner, job_body):
        owner.api.post(LIST, job_body | {"preset": None}, format="json")
        assert Job.objects.get().preset is None

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": "x" * 121}, "name"),
            ({"name": {}}, "name"),
            ({"dataset": None}, "dataset"),
            ({"dataset": 5}, "dataset"),
            ({"dataset": str(uuid4())}, "dataset"),
            ({"base_model": "../../etc/passwd"}, "base_model"),
            ({"preset": "fast"}, "preset"),
            ({"hyperparameters": {"learning_rte": 1}}, "hyperparameters.learning_rte"),
            ({"hyperparameters": {"r": -1}}, "hyperparameters.r"),
            ({"hyperparameters": {"r": 10**5000}}, None),
            ({"hyperparameters": [1]}, "hyperparameters"),
            ({"gpu_config": {"provider": "moon"}}, "gpu_config.provider"),
            ({"gpu_config": {"provider": "scripted", "type": "H100"}}, "gpu_config.type"),
            ({"gpu_config": {"provider": "scripted", "count": 9}}, "gpu_config.count"),
            ({"gpu_config": {"provider": "scripted", "cuont": 1}}, "gpu_config.cuont"),
            ({"gpu_config": {"provider": "scripted", "price_per_hour": 1}}, "gpu_config.price_per_hour"),
            ({"gpu_config": "local"}, "gpu_config"),
            ({"budget_limit": 0}, "budget_limit"),
            ({"budget_limit": -1}, "budget_limit"),
            ({"budget_limit": 1e300}, "budget_limit"),
            ({"budget_limit": True}, "budget_limit"),
            ({"max_duration": 59}, "max_duration"),
            ({"max_duration": 10**30}, "max_duration"),
            ({"priority": 101}, "priority"),
            ({"priority": "high"}, "priority"),
            ({"retry_policy": {"max_attempts": 0}}, "retry_policy.max_attempts"),
            ({"start": "maybe"}, "start"),
            ({"buget_limit": 5}, "buget_limit"),
            ({"owner": 1}, "owner"),
        ],
    )
    def test_says_what_is_wrong_and_where(self, owner, job_body, change, field):
        if field is None:
            raw = '{"hyperparameters": {"r": 1' + "0" * 5000 + "}}"
            assert problem_of(owner.api.post(LIST, raw, content_type="application/json"), 400)["code"] == "parse_error"
        else:
            assert field in messages_of(owner.api.post(LIST, job_body | change, format="json"))
        assert not Job.objects.exists()

    def test_a_misspelt_field_gets_a_hint(self, owner, job_body):
        found = messages_of(owner.api.post(LIST, job_body | {"buget_limit": 5}, format="json"))
        assert found["buget_limit"] == "“buget_limit” is not known here. Did you mean “budget_limit”?"

    def test_somebody_elses_dataset_does_not_exist(self, stranger, job_body):
        found = messages_of(stranger.api.post(LIST, job_body, format="json"))
        assert found == {"dataset": "There is no such dataset."}

    @pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null", b"{", b"\xff", b"[" * 100_000, b'{"name": NaN}'])
    def test_a_body_that_is_no_object(self, owner, body):
        problem_of(owner.api.post(LIST, body, content_type="application/json"), 400)


class TestActions:
    def test_start_queues_once(self, owner, things):
        answer = owner.api.post(f"{LIST}{things.saved.pk}/start/")
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")
        again = problem_of(owner.api.post(f"{LIST}{things.saved.pk}/start/"), 409)
        assert again["code"] == "already_started"

    def test_cancel_is_answered_at_once_and_may_be_repeated(self, owner, things):
        first = owner.api.post(f"{LIST}{things.running.pk}/cancel/")
        second = owner.api.post(f"{LIST}{things.running.pk}/cancel/")
        assert (first.status_code, second.status_code) == (202, 200)
        assert first.json()["status"] == second.json()["status"] == "cancelling"
        assert first.json()["event_seq"] == second.json()["event_seq"]
        assert things.running.events.filter(data__to="cancelling").count() == 1

    def test_cancel_of_a_cancelled_job_is_harmless_too(self, owner, things):
        owner.api.post(f"{LIST}{things.running.pk}/cancel/")
        Job.objects.filter(pk=things.running.pk).update(
            status="cancelled", completed_at="2026-01-01T00:00Z", final_cost=0, reason="cancelled_by_user"
        )
        answer = owner.api.post(f"{LIST}{things.running.pk}/cancel/")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    def test_what_cannot_be_cancelled_says_why(self, owner, things):
        assert problem_of(owner.api.post(f"{LIST}{things.saved.pk}/cancel/"), 409)["code"] == "not_started"
        Job.objects.filter(pk=things.running.pk).update(
            status="completed", completed_at="2026-01-01T00:00Z", final_cost=0, reason="completed"
        )
        refused = problem_of(owner.api.post(f"{LIST}{things.running.pk}/cancel/"), 409)
        assert refused["detail"] == "This job has already ended: completed."

    def test_the_files_of_a_deleted_job_go_with_it(self, owner, things, django_capture_on_commit_callbacks):
        Job.objects.filter(pk=things.running.pk).update(
            status="failed", completed_at="2026-01-01T00:00Z", final_cost=0, reason="vanished"
        )
        assert storages["artifacts"].exists(things.artifact.path)
        with django_capture_on_commit_callbacks(execute=True):
            assert owner.api.delete(f"{LIST}{things.running.pk}/").status_code == 204
        assert not storages["artifacts"].exists(things.artifact.path)

    def test_an_ended_job_can_be_tried_again(self, owner, things):
        path = f"{LIST}{things.running.pk}/retry/"
        assert problem_of(owner.api.post(path), 409)["code"] == "not_ended"
        Job.objects.filter(pk=things.running.pk).update(
            status="failed", completed_at="2026-01-01T00:00Z", final_cost=0, reason="out_of_memory"
        )
        answer = owner.api.post(path)
        assert answer.status_code == 201
        again = Job.objects.get(pk=answer.json()["id"])
        assert (again.status, again.name) == ("queued", things.running.name)
        assert answer["Location"] == f"/api/jobs/{again.pk}/"

    def test_delete_takes_what_does_not_run(self, owner, things):
        assert problem_of(owner.api.delete(f"{LIST}{things.running.pk}/"), 409)["code"] == "active"
        assert owner.api.delete(f"{LIST}{things.saved.pk}/").status_code == 204
        assert not Job.objects.filter(pk=things.saved.pk).exists()
