from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db.models.functions import Now
from django.utils import timezone

from pipeline.models import (
    ApiToken,
    Artifact,
    Attempt,
    CostRecord,
    Credential,
    EventType,
    Job,
    LogLine,
    MetricPoint,
    Sample,
)
from pipeline.services import credentials
from pipeline.services.tokens import create_token
from pipeline.transitions import record_event
from tests.factories import make_dataset, make_job, make_running_job
from tests.fakes.provider import World

ACCOUNT_KEY = "rpa_key-of-the-owner"


@dataclass
class Things:
    """One of everything, all the owner's."""

    saved: Job
    running: Job
    attempt: Attempt
    artifact: Artifact
    token: ApiToken
    token_text: str
    credential: Credential


@pytest.fixture(autouse=True)
def scripted_provider(world: World) -> None:
    """No test of the API asks this machine or the simulated one for anything."""
    world.accounts[ACCOUNT_KEY] = "owner@lab"


@pytest.fixture
def things(owner: Any, rented: World) -> Things:
    token, text = create_token(owner.user, "laptop")
    job, *_ = make_running_job(owner.user)
    Job.objects.filter(pk=job.pk).update(name="Rünning job", progress=50)
    job.refresh_from_db()
    running, attempt = fill(job)
    saved = make_job(owner.user, name="saved job")
    storages["lora-datasets"].save(saved.dataset.storage_path, ContentFile(b'{"text": "hello"}\n'))
    credential = credentials.save(owner.user, "rented", secret=ACCOUNT_KEY)
    return Things(saved, running, attempt, running.artifacts.get(), token, text, credential)


def fill(job: Job, points: int = 3) -> tuple[Job, Attempt]:
    """Give a running job some of everything that a run leaves."""
    attempt = job.attempts.get()
    now = timezone.now()
    MetricPoint.objects.bulk_create(
        MetricPoint(job=job, step=n, seq=n, attempt=1, at=now, loss=2.0 / n, extra={"entropy": 0.5}, nonfinite=None)
        for n in range(1, points + 1)
    )
    MetricPoint.objects.create(job=job, step=points + 1, seq=9, attempt=1, at=now, nonfinite={"loss": "NaN"})
    LogLine.objects.bulk_create(
        LogLine(job=job, attempt=1, n=n, seq=n, at=now, text=f"line {n}") for n in range(1, points + 1)
    )
    record_event(job.pk, EventType.WARNING, "Something odd.", level="warning")
    Sample.objects.create(job=job, index=0, seq=1, prompt=[{"role": "user", "content": "hi"}], expected="hello")
    CostRecord.objects.create(
        job=job, attempt=attempt, period_start=now, period_end=now, seconds=60, price_per_hour=3.6, amount="0.06"
    )
    path = f"{job.pk}/adapter.zip"
    storages["artifacts"].save(path, ContentFile(b"adapter"))
    Artifact.objects.create(
        job=job, attempt=attempt, kind="adapter", state="stored", stored_at=Now(), name="adapter.zip",
        size_bytes=7, sha256="0" * 64, path=path,
    )  # fmt: skip
    return job, attempt


@pytest.fixture
def ready_dataset(owner: Any) -> Any:
    return make_dataset(owner.user, name="calls")


@pytest.fixture
def job_body(ready_dataset: Any) -> dict[str, Any]:
    """The smallest body that makes a job."""
    return {
        "name": "first",
        "dataset": str(ready_dataset.pk),
        "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "gpu_config": {"provider": "scripted"},
    }
