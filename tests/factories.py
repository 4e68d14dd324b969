"""Rows for tests, with every field that does not matter filled in."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from django.contrib.auth.models import User
from django.db.models.functions import Now

from datasets.models import Dataset
from pipeline.models import Attempt, Job
from pipeline.models.access import JOB_TOKEN_PREFIX, new_token, token_hash
from pipeline.services.jobs import create_job
from pipeline.states import AttemptState, JobStatus
from training import hyperparameters

_numbers = itertools.count(1)


def make_user(name: str = "", **fields: Any) -> User:
    """Without a password unless one is given: hashing one well takes longer than most tests."""
    return User.objects.create_user(name or f"person{next(_numbers)}", **fields)


def make_dataset(owner: User, **fields: Any) -> Dataset:
    """A dataset that passed its check; its file exists only where a test puts it."""
    values: dict[str, Any] = {
        "name": f"dataset {next(_numbers)}",
        "storage_path": f"{uuid.uuid4()}.jsonl",
        "size_bytes": 1000,
        "sha256": "0" * 64,
        "format": "messages",
        "status": "ready",
        "row_count": 100,
        "total_training_pairs": 100,
        "training_ready": True,
    }
    return Dataset.objects.create(owner=owner, **(values | fields))


def make_job(owner: User, *, provider: str = "scripted", start: bool = False, **fields: Any) -> Job:
    """A saved job, made by the service people use."""
    dataset = fields.pop("dataset", None) or make_dataset(owner)
    values: dict[str, Any] = {"name": f"job {next(_numbers)}", "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct"}
    return create_job(owner, dataset=dataset, provider=provider, start=start, **(values | fields))


def make_running_job(owner: User, **fields: Any) -> tuple[Job, Attempt, str]:
    """A job in training with a live attempt, and its program's token; no provider was asked for anything."""
    job = Job.objects.create(
        owner=owner,
        name=f"job {next(_numbers)}",
        dataset=make_dataset(owner),
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        hyperparameters=hyperparameters.defaults(),
        **(
            {"provider": "scripted", "gpu_type": "box", "status": JobStatus.RUNNING, "current_stage": "training"}
            | {"queued_at": Now(), "started_at": Now(), "next_check_at": Now()}
            | fields
        ),
    )
    job.refresh_from_db()
    attempt, token = make_attempt(job)
    return job, attempt, token


def make_attempt(job: Job, **fields: Any) -> tuple[Attempt, str]:
    token = new_token(JOB_TOKEN_PREFIX)
    n = job.attempts.count() + 1
    values: dict[str, Any] = {
        "n": n,
        "name": f"stoker-test-{job.pk.hex[:12]}-a{n}",
        "provider": job.provider,
        "state": AttemptState.LIVE,
        "external_id": f"machine-{next(_numbers)}",
        "machine_seen_at": Now(),
        "metered_until": Now(),
        "token_hash": token_hash(token),
    }
    attempt = Attempt.objects.create(job=job, **(values | fields))
    attempt.refresh_from_db()
    return attempt, token
