"""Rows that the measurements begin with. Runs inside `manage.py shell` of the measured stack."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models.functions import Now

from datasets.models import Dataset
from frontend.signin import make_link
from pipeline.models import ApiToken, Attempt, Job
from pipeline.models.access import API_TOKEN_PREFIX, JOB_TOKEN_PREFIX, new_token, token_hash
from pipeline.services.jobs import create_job
from pipeline.states import AttemptState, JobStatus
from training import hyperparameters

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# Nothing runs for the jobs that are fed here, so nobody may look for their machines while they are measured.
NOBODY_LOOKS = timedelta(days=1)


def make(username: str, fed: int, started: int) -> None:
    """Print as JSON: a sign-in link and an API token, `fed` jobs in training, `started` saved ones of each provider."""
    user, _ = User.objects.get_or_create(username=username)
    token = new_token(API_TOKEN_PREFIX)
    ApiToken.objects.create(owner=user, name="benchmark", token_hash=token_hash(token), hint=token[-4:])
    dataset = Dataset.objects.create(
        owner=user,
        name="benchmark",
        storage_path=f"{uuid.uuid4()}.jsonl",
        size_bytes=1000,
        sha256="0" * 64,
        format="messages",
        status="ready",
        row_count=100,
        total_training_pairs=100,
        training_ready=True,
    )
    made: dict[str, Any] = {"link": make_link(user), "token": token}
    made["fed"] = [_fed_job(user, dataset, number) for number in range(fed)]
    for provider, gpu_type in (("simulated", "sim-60x"), ("local", "")):
        made[provider] = [
            str(
                create_job(
                    user,
                    name=f"{provider} {number}",
                    dataset=dataset,
                    base_model=BASE_MODEL,
                    provider=provider,
                    gpu_type=gpu_type,
                ).pk
            )
            for number in range(started)
        ]
    print(json.dumps(made))


def _fed_job(user: User, dataset: Dataset, number: int) -> dict[str, str]:
    job = Job.objects.create(
        owner=user,
        name=f"fed {number}",
        dataset=dataset,
        base_model=BASE_MODEL,
        hyperparameters=hyperparameters.defaults(),
        provider="simulated",
        gpu_type="sim-realtime",
        status=JobStatus.RUNNING,
        current_stage="training",
        queued_at=Now(),
        started_at=Now(),
        next_check_at=Now() + NOBODY_LOOKS,
        total_steps=1_000_000,
    )
    token = new_token(JOB_TOKEN_PREFIX)
    Attempt.objects.create(
        job=job,
        n=1,
        name=f"stoker-benchmark-{job.pk.hex[:12]}-a1",
        provider=job.provider,
        state=AttemptState.LIVE,
        external_id=f"none-{number}",
        machine_seen_at=Now(),
        metered_until=Now(),
        token_hash=token_hash(token),
    )
    return {"id": str(job.pk), "token": token}
