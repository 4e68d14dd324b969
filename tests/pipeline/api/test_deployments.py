"""Deployments: what is rented for a job, started and stopped by its owner alone; and going on at a checkpoint."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from pipeline.models import Artifact, Attempt, Job
from pipeline.services import stopping, submission, sweeping
from tests.factories import make_job
from tests.pipeline.steps import look


def shown(api: Any, job: Job) -> Any:
    answer = api.get(f"/api/deployments/{job.pk}/")
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.fixture
def job(owner: Any) -> Job:
    return make_job(owner.user)


def checkpoint(job: Job, **fields: Any) -> Artifact:
    attempt = job.attempts.first() or Attempt.objects.create(
        job=job, n=1, name=f"stoker-test-{job.pk.hex[:12]}-a1", provider=job.provider, state="never_created"
    )
    values = {"name": "checkpoint-10.zip", "step": 10, "state": "stored", "stored_at": Now()} | fields
    return Artifact.objects.create(
        job=job, attempt=attempt, kind="checkpoint", size_bytes=7, sha256="0" * 64, path=f"{job.pk}/{values['name']}",
        **values,
    )  # fmt: skip


def end(job: Job, status: str = "failed") -> None:
    job.attempts.update(state="gone", gone_at=Now(), gone_evidence="It said so.", reason="vanished")
    Job.objects.filter(pk=job.pk).update(status=status, completed_at=Now(), final_cost=0, reason="vanished")


def test_a_deployments_whole_life(owner: Any, job: Job, world: Any) -> None:
    answer = owner.api.post("/api/deployments/", {"job": str(job.pk)})
    assert (answer.status_code, answer["Location"]) == (202, f"/api/deployments/{job.pk}/")
    assert answer.json()["machines"] == []
    submission.submit(job.pk)
    attempt = job.attempts.get()
    sweeping.sweep_due()
    Attempt.objects.filter(pk=attempt.pk).update(
        machine_seen_at=Now() - timedelta(hours=1), metered_until=Now() - timedelta(hours=1)
    )
    told = shown(owner.api, job)
    assert (told["provider"], told["status"], told["gpu_type"]) == ("scripted", "initializing", "box")
    (machine,) = told["machines"]
    assert machine["external_id"] == attempt.external_id
    assert (machine["attempt"], machine["state"], machine["price_per_hour"]) == (1, "running", 3.6)
    assert machine["cost"] == told["cost"] == pytest.approx(3.6, abs=0.01)
    assert machine["uptime_seconds"] == pytest.approx(3600, abs=5)
    assert machine["until"] is None

    assert owner.api.post(f"/api/deployments/{job.pk}/stop/").status_code == 202
    assert owner.api.post(f"/api/deployments/{job.pk}/stop/").status_code == 200
    stopping.stop(job.pk)
    look(job)
    told = shown(owner.api, job)
    assert told["status"] == "cancelled"
    assert told["machines"][0]["state"] == "gone"
    assert told["machines"][0]["until"] is not None
    assert owner.api.post(f"/api/deployments/{job.pk}/stop/").status_code == 409


def test_what_is_started_cannot_be_started_again(owner: Any, job: Job) -> None:
    assert owner.api.post("/api/deployments/", {"job": str(job.pk)}).status_code == 202
    answer = owner.api.post("/api/deployments/", {"job": str(job.pk)})
    assert (answer.status_code, answer.json()["code"]) == (409, "already_started")


def test_a_stranger_starts_and_stops_nothing(owner: Any, stranger: Any, signed_out: Any, job: Job) -> None:
    answer = stranger.api.post("/api/deployments/", {"job": str(job.pk)})
    assert answer.status_code == 400
    assert answer.json()["errors"][0] == {
        "field": "job", "line": None, "code": "does_not_exist", "message": "There is no such job.",
    }  # fmt: skip
    assert signed_out.api.post("/api/deployments/", {"job": str(job.pk)}).status_code == 401
    job.refresh_from_db()
    assert job.status == "pending"


def test_a_machine_that_was_left_over_is_shown_with_its_job(owner: Any, job: Job, world: Any) -> None:
    owner.api.post("/api/deployments/", {"job": str(job.pk)})
    submission.submit(job.pk)
    attempt = job.attempts.get()
    world.stray(attempt.name, "second", created_at=timezone.now() - timedelta(hours=2))
    world.stop_error = None
    sweeping.sweep_due()
    machines = shown(owner.api, job)["machines"]
    assert [(one["external_id"], one["forgotten"]) for one in machines] == [
        (attempt.external_id, False), ("second", True),
    ]  # fmt: skip
    assert machines[1]["cost"] == pytest.approx(7.2, abs=0.01)


def test_an_ended_job_goes_on_at_its_checkpoint(owner: Any, things: Any) -> None:
    first, newest = checkpoint(things.running), checkpoint(things.running, name="checkpoint-20.zip", step=20)
    path = f"/api/jobs/{things.running.pk}/resume/"
    assert owner.api.post(path).json()["code"] == "not_ended"
    assert owner.api.get(f"/api/jobs/{things.running.pk}/").json()["can_resume"] is False
    end(things.running)
    assert owner.api.get(f"/api/jobs/{things.running.pk}/").json()["can_resume"] is True
    listed = {one["id"]: one["can_resume"] for one in owner.api.get("/api/jobs/").json()["results"]}
    assert listed == {str(things.running.pk): True, str(things.saved.pk): False}
    for body, expected in (({}, newest), ({"checkpoint": None}, newest), ({"checkpoint": str(first.pk)}, first)):
        answer = owner.api.post(path, body)
        assert answer.status_code == 201, answer.content
        assert answer.json()["status"] == "queued"
        assert answer.json()["configuration"]["resume_from"] == str(expected.pk)
        assert answer["Location"] == f"/api/jobs/{answer.json()['id']}/"


def test_only_a_stored_checkpoint_of_that_job_will_do(owner: Any, things: Any) -> None:
    end(things.running)
    path = f"/api/jobs/{things.running.pk}/resume/"
    assert owner.api.post(path).json()["code"] == "no_checkpoint"
    uploading = checkpoint(things.running, state="uploading", stored_at=None)
    of_another = checkpoint(things.saved)
    for one in (uploading, of_another, things.artifact):
        answer = owner.api.post(path, {"checkpoint": str(one.pk)})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["message"] == "There is no such checkpoint."


def test_a_new_job_may_begin_with_ones_own_checkpoint(
    owner: Any, stranger: Any, things: Any, job_body: Any, ready_dataset: Any
) -> None:
    mine, foreign = checkpoint(things.running), checkpoint(make_job(stranger.user))
    answer = owner.api.post("/api/jobs/", job_body | {"resume_from": str(mine.pk)})
    assert answer.json()["configuration"]["resume_from"] == str(mine.pk)
    for one in (foreign, things.artifact):
        answer = owner.api.post("/api/jobs/", job_body | {"resume_from": str(one.pk)})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "resume_from")


def test_a_running_job_is_asked_for_a_checkpoint_once(owner: Any, things: Any) -> None:
    path = f"/api/jobs/{things.running.pk}/checkpoint/"
    assert owner.api.get(f"/api/jobs/{things.running.pk}/").json()["can_save"] is True
    answer = owner.api.post(path)
    assert (answer.status_code, answer.json()["can_save"]) == (202, False)
    assert owner.api.post(path).status_code == 200
    things.running.refresh_from_db()
    assert things.running.save_requested_at is not None
    assert owner.api.post(f"/api/jobs/{things.saved.pk}/checkpoint/").json()["code"] == "not_running"


def test_fallbacks_are_taken_shown_and_checked(owner: Any, job_body: Any) -> None:
    gpu = {"provider": "scripted", "type": "box", "fallbacks": [{"type": "big"}]}
    made = owner.api.post("/api/jobs/", job_body | {"gpu_config": gpu})
    assert made.status_code == 201, made.content
    assert made.json()["configuration"]["gpu_config"]["fallbacks"] == [{"type": "big", "cloud": ""}]
    for fallbacks, field in (
        ([{"type": "abacus"}], "gpu_config.fallbacks.0.type"),
        ([{"type": "big", "clod": "x"}], "gpu_config.fallbacks.0.clod"),
        ([{}], "gpu_config.fallbacks.0.type"),
        ("big", "gpu_config.fallbacks"),
        ([{"type": "big"}] * 11, "gpu_config.fallbacks"),
    ):
        answer = owner.api.post("/api/jobs/", job_body | {"gpu_config": gpu | {"fallbacks": fallbacks}})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
