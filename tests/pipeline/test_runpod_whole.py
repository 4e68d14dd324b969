"""The whole way of a rented job: our services, an imitated RunPod, and the real program of its machines.

Only the training itself is replaced, by a few lines that do what every training program does at its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datasets import nudge
from pipeline import accounts, vault
from pipeline.models import Attempt, Credential, Job
from pipeline.providers.runpod import catalog
from pipeline.services import submission
from pipeline.services.jobs import request_cancel
from pipeline.states import JobStatus
from tests.factories import make_job, make_user
from tests.fakes.runpod import Boot, FakeRunPod, Host
from tests.pipeline.steps import look, shift
from tests.waiting import until
from training import bundle, pod

KEY = "rpa_ACCOUNTKEYTHATMUSTNOTLEAK0123456789"
FINISHES = """
import hashlib, json, os, urllib.request
base = f"{os.environ['METRICS_API_URL']}/{os.environ['JOB_ID']}/"
def call(path, document=None, data=None, method=None):
    url = path if path.startswith("http") else base + path
    body = data if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, body, {"Authorization": "Bearer " + os.environ["JOB_TOKEN"]}, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read() or b"{}")
call("spec")
call("metrics", [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.0}])
adapter = b"an adapter"
about = {"kind": "adapter", "name": "adapter.zip", "step": 2, "size_bytes": len(adapter)}
told = call("artifacts", about | {"sha256": hashlib.sha256(adapter).hexdigest()})
call(told["upload"]["url"], data=adapter, method="PUT")
call(f"artifacts/{told['id']}/complete", {})
call("finish", {"outcome": "completed", "last_n": 0})
"""
STAYS = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)"


@pytest.fixture
def fake(settings: Any, live_server: Any, tmp_path: Path) -> Iterator[FakeRunPod]:
    host = Host([sys.executable, str(Path(pod.__file__))], tmp_path / "pods", tmp_path / "models")
    with FakeRunPod({KEY: 100}, boot=Boot(0, 0, 0), host=host) as made:
        catalog.forget()
        nudge.reset()
        settings.STOKER_PUBLIC_URL = live_server.url
        settings.RUNPOD_API_URL, settings.RUNPOD_GRAPHQL_URL = made.url, made.graphql_url
        settings.RUNPOD_IMAGE = "registry.example/stoker-trainer@sha256:" + "0" * 64
        yield made


def rented(monkeypatch: pytest.MonkeyPatch, program: str) -> tuple[Job, Attempt]:
    """A job whose machine was asked for, and what that machine is to run."""
    monkeypatch.setattr(bundle, "content", lambda: program.encode())
    owner = make_user()
    credential = Credential(owner=owner, provider="runpod")
    credential.secret = vault.seal(KEY, accounts.bound_to(credential))
    credential.save()
    job = make_job(owner, provider="runpod", gpu_type="NVIDIA RTX A4000", cloud="SECURE", start=True)
    submission.submit(job.pk)
    job.refresh_from_db()
    return job, job.attempts.get()


def fresh(attempt: Attempt) -> Attempt:
    attempt.refresh_from_db()
    return attempt


@pytest.mark.django_db(transaction=True)
class TestWhole:
    def test_a_job_is_completed_when_the_server_has_ended_its_machine(
        self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake.fault("no_own_key")
        job, attempt = rented(monkeypatch, FINISHES)
        assert attempt.external_id == fake.pods(attempt.name)[0].id
        until(lambda: fresh(attempt).outcome, 20, "the last word of the program")
        assert look(job).status == JobStatus.RUNNING, "its machine is still there"
        assert job.current_step == 2
        shift(attempt, outcome_at=timedelta(seconds=11))
        look(job)
        assert look(job).status == JobStatus.COMPLETED
        assert fake.pods() == []
        assert "does not exist" in fresh(attempt).gone_evidence

    def test_a_machine_that_ended_itself_is_believed_after_two_looks(
        self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, attempt = rented(monkeypatch, FINISHES)
        until(lambda: not fake.pods(), 20, "the machine to end itself")
        assert fresh(attempt).outcome == "completed"
        shift(attempt, machine_seen_at=timedelta(minutes=3), last_seen_at=timedelta(minutes=2))
        assert look(job).status == JobStatus.RUNNING
        shift(attempt, first_missed_at=timedelta(seconds=31))
        assert look(job).status == JobStatus.COMPLETED

    def test_a_machine_that_was_taken_away_is_replaced_by_another(
        self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, attempt = rented(monkeypatch, STAYS)
        until(lambda: fresh(attempt).first_contact_at, 20, "the first call of the machine")
        fake.fault("preempt", grace=0)
        assert look(job).current_stage == "releasing"
        assert fake.pods() == []
        assert look(job).status == JobStatus.QUEUED
        assert fresh(attempt).reason == "preempted"

    def test_a_cancelled_job_leaves_nothing_that_is_billed(
        self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, attempt = rented(monkeypatch, STAYS)
        until(lambda: fresh(attempt).first_contact_at, 20, "the first call of the machine")
        shift(attempt, last_seen_at=timedelta(minutes=2))
        request_cancel(job.pk)
        look(job)
        assert look(job).status == JobStatus.CANCELLED
        bill = fake.bill()
        fake.clock.advance(3600)
        assert fake.bill() == bill

    def test_no_secret_is_to_be_seen_at_the_provider(self, fake: FakeRunPod, monkeypatch: pytest.MonkeyPatch) -> None:
        fake.fault("no_own_key")
        _, attempt = rented(monkeypatch, FINISHES)
        (machine,) = fake.pods(attempt.name)
        until(lambda: fresh(attempt).outcome, 20, "the last word of the program")
        output = "\n".join(line for _, _, line in fake.log_lines(machine.id, "", 1000))
        shown = json.dumps(machine.as_json(fake.clock.now())) + output
        assert "stk_j_" not in shown
        assert KEY not in shown
        assert machine.key not in output
        assert "stk_b_" not in output
