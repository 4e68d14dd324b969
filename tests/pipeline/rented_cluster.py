"""A person with an account at an imitated cluster, and jobs there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.auth.models import User

from datasets import nudge
from pipeline import accounts, vault
from pipeline.models import Attempt, Credential, Job
from pipeline.services import submission
from tests.factories import make_job
from tests.fakes.cluster import KEY, FakeCluster


@contextmanager
def cluster_of(owner: User, settings: Any, *, idempotent: bool) -> Iterator[FakeCluster]:
    settings.STOKER_PROVIDERS = {"cluster": "pipeline.providers.cluster.ClusterProvider"}
    nudge.reset()
    with FakeCluster(idempotent=idempotent, queue_seconds=0) as fake:
        settings.STOKER_PRIVATE_URLS = [fake.url]
        credential = Credential(owner=owner, provider="cluster", base_url=fake.url)
        credential.options = {"idempotent": idempotent, "gpu_types": "A100:3.60"}
        credential.secret = vault.seal(KEY, accounts.bound_to(credential))
        credential.save()
        yield fake


def submitted(owner: User, **hyperparameters: Any) -> tuple[Job, Attempt]:
    job = make_job(owner, provider="cluster", start=True, hyperparameters={"max_steps": 10_000} | hyperparameters)
    submission.submit(job.pk)
    job.refresh_from_db()
    return job, job.attempts.get()
