"""The program's side of the conversation, over HTTP."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db.models.functions import Now
from django.test import Client

from pipeline.models import Artifact, Attempt, Job, JobEvent, LogLine, MetricPoint, Sample
from pipeline.states import AttemptState, JobStatus
from tests.factories import make_running_job, make_user
from tests.fakes.provider import World
from training.contract import MAX_BODY_BYTES, RunSpec

pytestmark = pytest.mark.django_db


class Program:
    """A training program, as far as the server can tell."""

    def __init__(self, **fields: Any) -> None:
        self.job, self.attempt, self.token = make_running_job(make_user(), **fields)
        self.http = Client()

    def send(self, path: str, body: Any, *, token: str | None = None, raw: bytes | None = None) -> Any:
        return self.http.post(
            f"/api/training/jobs/{self.job.pk}/{path}",
            data=raw if raw is not None else json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {token or self.token}"},
        )

    def events(self, *lines: tuple[int, str, dict[str, Any]]) -> Any:
        answer = self.send(
            "events", {"events": [{"n": n, "t": 1.7e9, "kind": kind, "data": data} for n, kind, data in lines]}
        )
        assert answer.status_code == 200, answer.content
        return answer.json()

    def steps(self) -> list[int]:
        return list(MetricPoint.objects.filter(job=self.job).order_by("step").values_list("step", flat=True))

    def fresh(self) -> Job:
        self.job.refresh_from_db()
        self.attempt.refresh_from_db()
        return self.job


@pytest.fixture
def program(world: World) -> Program:
    return Program()


def metric(step: int, **values: float) -> tuple[int, str, dict[str, Any]]:
    return step, "metric", {"step": step, "loss": 1.0 / step, **values}


def test_the_spec_is_complete_and_its_link_works(program: Program) -> None:
    answer = program.http.get(
        f"/api/training/jobs/{program.job.pk}/spec", headers={"Authorization": f"Bearer {program.token}"}
    )
    spec = RunSpec.from_json(answer.json())
    assert spec.job_id == str(program.job.pk)
    assert spec.dataset.url.startswith("http")
    program.fresh()
    assert program.attempt.first_contact_at is not None


@pytest.mark.parametrize(
    "body", [{"step": 1, "loss": 2.5}, [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.4}]], ids=["object", "list"]
)
def test_the_public_contract_takes_an_object_or_a_list(program: Program, body: Any) -> None:
    answer = program.send("metrics", body)
    assert (answer.status_code, answer.json()["stop"]) == (200, None)
    assert program.steps() == [1, 2][: answer.json()["stored"]]
    assert program.fresh().current_step == program.steps()[-1]


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, '"nan"'])
def test_a_value_that_is_no_number_never_loses_the_batch(program: Program, word: str) -> None:
    raw = b'[{"step": 1, "loss": %s}, {"step": 2, "loss": 0.5}]' % word.encode()
    assert program.send("metrics", None, raw=raw).status_code == 200
    assert program.steps() == [1, 2]
    assert MetricPoint.objects.get(job=program.job, step=1).nonfinite


def test_good_points_are_kept_when_others_are_bad(program: Program) -> None:
    answer = program.send("metrics", [{"loss": 1}, {"step": 4, "loss": 1, "note": "hi"}, 17])
    assert (answer.status_code, answer.json()["stored"]) == (200, 1)
    assert {error["field"] for error in answer.json()["errors"]} == {"[0]", "[1]", "[2]"}
    assert program.steps() == [4]


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "not_json"),
        (b"{", 400, "not_json"),
        (b"\xff\xfe", 400, "not_json"),
        (b"[" * 100_000, 400, "too_deep"),
        (b'{"step": "one"}', 422, "invalid"),
        (b'{"loss": 1}', 422, "invalid"),
        (b"17", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "too_large"),
        (b"[" + b"{},".join([b""] * 10_002) + b"{}]", 413, "too_many"),
    ],
    ids=["empty", "open", "not utf-8", "deep", "step text", "no step", "number", "null", "large", "many"],
)
def test_bad_bodies_get_a_sentence(program: Program, raw: bytes, status: int, code: str) -> None:
    answer = program.send("metrics", None, raw=raw)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"].endswith(".")


@pytest.mark.parametrize("path", ["metrics", "events", "artifacts", "finish"])
@pytest.mark.parametrize(
    "raw", [b"[]", b"{}", b'"x"', b"null", b'{"events": 3}', b'{"events": [3, null, {"n": "x"}, {"n": 1}]}']
)
def test_no_shape_of_body_is_a_server_error(program: Program, path: str, raw: bytes) -> None:
    assert program.send(path, None, raw=raw).status_code in (200, 422)


def test_who_may_send(program: Program, world: World) -> None:
    other = Program()
    assert program.send("metrics", {"step": 1}, token="stk_j_wrong").status_code == 401
    assert program.http.post(f"/api/training/jobs/{program.job.pk}/metrics").status_code == 401
    assert program.send("metrics", {"step": 1}, token=other.token).status_code == 404
    Attempt.objects.filter(pk=program.attempt.pk).update(
        state=AttemptState.GONE, gone_at=Now(), gone_evidence="It ended.", reason="completed"
    )
    late = program.send("metrics", {"step": 1})
    assert late.status_code == 410
    assert late.json()["stop"]["reason"] == "attempt_over"
    assert program.steps() == []


def test_lines_are_acknowledged_as_far_as_they_are_whole(program: Program) -> None:
    assert program.events(metric(1), metric(2))["acked"] == 2
    assert program.events(metric(4), metric(5))["acked"] == 2, "3 is missing"
    assert program.steps() == [1, 2]
    assert program.events(metric(2), metric(3), metric(4))["acked"] == 4
    assert program.events(metric(1), metric(3))["acked"] == 4
    assert program.steps() == [1, 2, 3, 4]


def test_every_kind_of_line_finds_its_place(world: World) -> None:
    program = Program(status=JobStatus.INITIALIZING, current_stage="provisioning", started_at=None)
    program.events(
        (1, "stage", {"stage": "preparing", "detail": "Loading the model."}),
        (2, "plan", {"total_steps": 40, "total_epochs": 2, "trainable_parameters": 1000}),
        (3, "log", {"text": "a line with \x00 and \ud800", "stream": "stderr"}),
        (
            4,
            "sample",
            {
                "index": 0,
                "prompt": [{"role": "user", "content": "Hi\x00"}],
                "expected": "{}",
                "before": "x",
                "valid_before": False,
            },
        ),
        (5, "heartbeat", {"gpu_utilization": 97.5}),
    )
    job = program.fresh()
    assert (job.status, job.current_stage, job.stage_detail) == (
        JobStatus.INITIALIZING,
        "preparing",
        "Loading the model.",
    )
    assert (job.total_steps, job.total_epochs, job.plan["trainable_parameters"]) == (40, 2, 1000)
    program.events(
        (6, "metric", {"step": 10, "loss": 0.7, "epoch": 0.5, "remaining_seconds": 30}),
        (7, "checkpoint", {"step": 10}),
        (8, "sample", {"index": 0, "after": "{}", "valid_after": True}),
        (9, "sing", {}),
        (10, "log", None),
    )
    job = program.fresh()
    assert (job.status, job.current_step, job.progress, job.eta_seconds) == (JobStatus.RUNNING, 10, 25, 30)
    assert job.started_at is not None
    assert job.current_metrics["gpu_utilization"] == 97.5
    assert LogLine.objects.get(job=job).text.startswith("a line with ␀")
    sample = Sample.objects.get(job=job)
    assert (sample.before, sample.after, sample.valid_before, sample.valid_after) == ("x", "{}", False, True)
    kinds = list(JobEvent.objects.filter(job=job).order_by("seq").values_list("kind", flat=True))
    assert kinds.count("checkpoint") == 1
    assert kinds.count("warning") == 2
    assert program.attempt.acked_n == 10


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), "x", [], {}, True, None, 1e999, 2**70], ids=lambda v: str(v)[:8]
)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("heartbeat", "gpu_utilization"), ("heartbeat", "a\x00b"), ("heartbeat", "x" * 300), ("plan", "total_steps"),
        ("plan", "total_epochs"), ("plan", "\x00"), ("checkpoint", "step"), ("stage", "stage"), ("stage", "detail"),
        ("sample", "index"), ("sample", "expected"), ("sample", "valid_before"), ("log", "text"), ("log", "stream"),
        ("metric", "step"), ("metric", "a\x00b"),
    ],
)  # fmt: skip
def test_no_line_however_odd_stops_the_ones_after_it(program: Program, kind: str, name: str, value: Any) -> None:
    raw = json.dumps(
        {"events": [{"n": 1, "t": value, "kind": kind, "data": {name: value}}, {"n": 2, "kind": value, "data": {}}]}
    )
    answer = program.send("events", None, raw=raw.encode())
    assert (answer.status_code, answer.json().get("acked")) == (200, 2), answer.content
    assert program.events((3, "metric", {"step": 3, "loss": 1.0}))["acked"] == 3
    assert 3 in program.steps()


def test_a_program_cannot_say_the_servers_stages(program: Program) -> None:
    program.events((1, "stage", {"stage": "ended"}))
    assert program.fresh().current_stage == "training"


def test_a_program_that_calls_again_is_no_longer_missed(program: Program) -> None:
    Job.objects.filter(pk=program.job.pk).update(current_stage="contact_lost")
    program.events((1, "heartbeat", {}))
    assert program.fresh().current_stage == "training"


def test_a_stop_request_travels_back_in_the_answer(program: Program) -> None:
    Job.objects.filter(pk=program.job.pk).update(
        status="cancelling", desired="stop", stop_reason="cancelled_by_user", stop_requested_at=Now()
    )
    assert program.events(metric(1))["stop"]["reason"] == "cancelled_by_user"
    assert program.send("metrics", {"step": 2}).json()["stop"]["reason"] == "cancelled_by_user"


def test_numbers_of_the_sequence_have_no_holes_or_repeats(program: Program) -> None:
    program.events(metric(1), (2, "checkpoint", {"step": 1}), (3, "stage", {"stage": "evaluating"}))
    program.events(metric(4))
    seqs = [*JobEvent.objects.filter(job=program.job).values_list("seq", flat=True)]
    seqs += set(MetricPoint.objects.filter(job=program.job).values_list("seq", flat=True))
    assert sorted(seqs) == list(range(1, program.fresh().event_seq + 1))


class TestFinish:
    def test_completed_needs_all_lines_and_a_verified_adapter(self, program: Program) -> None:
        program.events(metric(1))
        early = program.send("finish", {"outcome": "completed", "last_n": 2})
        assert (early.status_code, early.json()["code"], early.json()["acked"]) == (409, "events_missing", 1)
        bare = program.send("finish", {"outcome": "completed", "last_n": 1})
        assert (bare.status_code, bare.json()["code"]) == (409, "artifact_missing")
        assert upload(program, b"weights").status_code == 200
        assert program.send("finish", {"outcome": "completed", "last_n": 1}).status_code == 200
        assert program.send("finish", {"outcome": "completed", "last_n": 1}).status_code == 200, "said twice"
        program.fresh()
        assert (program.attempt.outcome, program.job.status) == ("completed", JobStatus.RUNNING)

    def test_after_the_last_word_nothing_more_is_taken(self, program: Program) -> None:
        program.send("finish", {"outcome": "failed", "last_n": 0, "reason": "out_of_memory", "message": "Too big."})
        assert program.send("metrics", {"step": 1}).status_code == 410
        program.fresh()
        assert (program.attempt.outcome_reason, program.attempt.error_message) == ("out_of_memory", "Too big.")

    def test_a_reason_we_do_not_know_is_not_believed(self, program: Program) -> None:
        program.send("finish", {"outcome": "failed", "last_n": 0, "reason": "completed"})
        program.fresh()
        assert program.attempt.outcome_reason == ""


class TestArtifacts:
    def test_a_file_counts_only_when_its_bytes_are_the_announced_ones(self, program: Program) -> None:
        announced = program.send("artifacts", announcement(b"weights")).json()
        artifact = Artifact.objects.get(pk=announced["id"])
        # Past the link's own check, as a store would that knows nothing of digests.
        storages["artifacts"].save(artifact.path, ContentFile(b"WEIGHTS"))
        wrong = program.send(f"artifacts/{artifact.pk}/complete", {})
        assert (wrong.status_code, wrong.json()["errors"][0]["code"]) == (422, "mismatch")
        artifact.refresh_from_db()
        assert artifact.state == "uploading"
        assert upload(program, b"weights").json()["state"] == "stored"

    def test_announcing_and_completing_again_is_fine(self, program: Program) -> None:
        first, again = upload(program, b"weights").json(), upload(program, b"weights").json()
        assert first == again

    def test_completing_what_was_never_sent_is_refused(self, program: Program) -> None:
        announced = program.send("artifacts", announcement(b"weights"))
        answer = program.send(f"artifacts/{announced.json()['id']}/complete", {})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "missing")

    def test_a_bad_announcement_lists_everything_wrong(self, program: Program) -> None:
        answer = program.send(
            "artifacts", {"kind": "virus", "name": "../../etc/passwd", "size_bytes": 0, "sha256": "X"}
        )
        assert answer.status_code == 422
        assert {error["field"] for error in answer.json()["errors"]} == {"kind", "name", "size_bytes", "sha256"}


def announcement(content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"kind": "adapter", "name": "adapter.zip", "step": 1, "size_bytes": len(content), "sha256": digest}


def upload(program: Program, content: bytes) -> Any:
    announced = program.send("artifacts", announcement(content))
    assert announced.status_code == 201, announced.content
    if announced.json()["upload"] is not None:
        link = urlsplit(announced.json()["upload"]["url"])
        put = program.http.put(f"{link.path}?{link.query}", data=content, content_type="application/octet-stream")
        assert put.status_code in (200, 201, 204), put.content
    return program.send(f"artifacts/{announced.json()['id']}/complete", {})
