"""One look at ten thousand rented machines in ten accounts: `python -m benchmarks.polling [--jobs N] [--json FILE]`.

The rows are in the product's own PostgreSQL, the machines at an imitated RunPod in a process of its own; what is
measured is `poll_due` as the worker calls it, in three cycles: the first look at all machines, one that teaches
nothing, and one in which a minute of cost is due for every machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

ACCOUNTS = 10
GPU = "NVIDIA RTX A4000"
SECONDS_ALLOWED = 5.0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="machines in all (default: 10000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stoker-polling-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)
        figures = _measure(Path(folder) / "home", options.jobs)
    for name, found in figures.items():
        told = ", ".join(f"{found[what]} {what}" for what in ("calls", "queries", "jobs"))
        print(f"{name:>24}: {found['seconds']:.2f} s, {told}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if figures["nothing new"]["seconds"] < SECONDS_ALLOWED else 1


def _measure(home: Path, count: int) -> dict[str, dict[str, Any]]:
    from pipeline.config.embedded import Postgres, Valkey

    home.mkdir()
    for name in ("DATABASE_URL", "REDIS_URL"):
        os.environ.pop(name, None)
    os.environ |= {
        "STOKER_HOME": str(home),
        "DJANGO_SETTINGS_MODULE": "pipeline.config.settings",
        "STOKER_LOG_LEVEL": "ERROR",
        "RUNPOD_IMAGE": "registry.example/trainer@sha256:" + "0" * 64,
    }
    services = [Postgres(home / "postgres"), Valkey(home / "valkey")]
    for service in services:
        service.attach()
    try:
        return _with_rows(count)
    finally:
        for service in services:
            service.release()


def _with_rows(count: int) -> dict[str, dict[str, Any]]:
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db.models import F
    from django.db.models.functions import Now

    call_command("migrate", verbosity=0)
    names = _rows(count)
    with _imitated(names) as (url, calls):
        settings.RUNPOD_API_URL = url
        from pipeline.models import Attempt, Job

        figures = {}
        for cycle in ("first look", "nothing new", "a minute of cost"):
            Job.objects.update(next_check_at=Now())
            if cycle == "a minute of cost":
                Attempt.objects.update(metered_until=F("metered_until") - timedelta(seconds=61))
            figures[cycle] = _one_cycle(calls)
        return figures


def _one_cycle(calls: Callable[[], int]) -> dict[str, Any]:
    """As many claims as it takes until nothing is due, which is what one beat leads to."""
    from django.db import connection

    from pipeline.services import observation

    counted: Counter[str] = Counter()

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        counted["queries"] += 1
        return execute(sql, *rest)

    before, began, jobs = calls(), time.perf_counter(), 0
    with connection.execute_wrapper(count):
        while looked_at := observation.poll_due():
            jobs += looked_at
    seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 3), "queries": counted["queries"], "calls": calls() - before, "jobs": jobs}


def _rows(count: int) -> dict[str, list[tuple[str, str]]]:
    """People with a key each and jobs that run; the machines' names and ids by key."""
    from django.contrib.auth.models import User
    from django.db.models.functions import Now

    from datasets.models import Dataset
    from pipeline import accounts, vault
    from pipeline.models import Attempt, Credential, Job
    from pipeline.ownership import machine_name
    from pipeline.states import AttemptState, JobStatus
    from training import hyperparameters

    names: dict[str, list[tuple[str, str]]] = {}
    values = hyperparameters.defaults()
    for number in range(ACCOUNTS):
        owner = User.objects.create(username=f"person{number}")
        key = f"rpa_BENCHMARK{number:027}"
        credential = Credential(owner=owner, provider="runpod")
        credential.secret = vault.seal(key, accounts.bound_to(credential))
        credential.save()
        dataset = Dataset.objects.create(
            owner=owner, name="rows", storage_path=f"{uuid.uuid4()}.jsonl", size_bytes=1, sha256="0" * 64,
            format="messages", status="ready", row_count=1, total_training_pairs=1, training_ready=True,
        )  # fmt: skip
        jobs = Job.objects.bulk_create(
            Job(
                owner=owner, name=f"job {index}", dataset=dataset, base_model="a/b", hyperparameters=values,
                provider="runpod", gpu_type=GPU, status=JobStatus.RUNNING, current_stage="training",
                queued_at=Now(), started_at=Now(), next_check_at=Now(),
            )
            for index in range(count // ACCOUNTS)
        )  # fmt: skip
        made = Attempt.objects.bulk_create(
            Attempt(
                job=job, n=1, name=machine_name(_installation(), job.pk.hex, 1), provider="runpod",
                credential=credential, state=AttemptState.LIVE, external_id=uuid.uuid4().hex[:14],
                price_per_hour="0.25", machine_seen_at=Now(), metered_until=Now(), first_contact_at=Now(),
                last_seen_at=Now(),
            )
            for job in jobs
        )  # fmt: skip
        names[key] = [(attempt.name, attempt.external_id) for attempt in made]
    return names


def _installation() -> str:
    from django.conf import settings

    return str(settings.STOKER_INSTALLATION)


@contextmanager
def _imitated(names: dict[str, list[tuple[str, str]]]) -> Any:
    """An imitated RunPod with these machines: its address, and how many calls it has had."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, names), daemon=True)
    process.start()

    def calls() -> int:
        ours.send("calls")
        return int(ours.recv())

    try:
        yield ours.recv(), calls
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Any, names: dict[str, list[tuple[str, str]]]) -> None:
    imitation = importlib.import_module("tests.fakes.runpod")
    accounts = dict.fromkeys(names, 1_000_000.0)
    with imitation.FakeRunPod(accounts, speed=1, boot=imitation.Boot(0, 0, -2)) as fake:
        for key, machines in names.items():
            account = fake.world.account_of(key)
            assert account is not None
            for name, id_ in machines:
                pod = fake.world.create(account, {"name": name, "image": "x", "gpu": {"id": GPU, "count": 1}})
                del fake.world.pods[pod.id]
                pod.id = id_
                fake.world.pods[id_] = pod
        pipe.send(fake.url)
        while pipe.recv():
            pipe.send(len(fake.calls()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
