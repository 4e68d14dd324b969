"""From `queued` to the provider's call and to the running process, and how long a person waits for a cancel."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import noop
from benchmarks.http import Connection
from benchmarks.product import STARTED_FILE, Product, until
from benchmarks.reading import timed
from benchmarks.report import Figure, Floor, percentiles
from benchmarks.sizes import Sizes


def measure(product: Product, sizes: Sizes) -> list[Figure]:
    hop = Floor("a Celery task that does nothing, sent to begun", percentiles(noop.measure(product, sizes.tasks)))
    called: dict[str, list[float]] = {"simulated": [], "local": []}
    started, answered, ended = [], [], []
    with product.database() as database:
        api = product.api()
        for provider in called:
            for job_id in product.made[provider]:
                until(lambda: _is_idle(database), "an idle worker")
                time.sleep(random.uniform(0, 0.1))
                job = _Started(product, database, api, job_id, needs_process=provider == "local")
                called[provider].append(job.called)
                answered.append(job.cancel_answered)
                if job.process_began is not None:
                    started.append(job.process_began)
                    ended.append(job.cancelled)
        api.close()
        jobs = product.made["simulated"]
        commit = Floor(
            "one UPDATE, committed",
            percentiles(
                timed(
                    sizes.tasks,
                    lambda: database.execute("UPDATE pipeline_job SET priority = 1 WHERE id = %s", [jobs[0]]),
                )
            ),
        )
    details = {"jobs": sizes.jobs}
    return [
        *(
            Figure(f"start_{provider}", f"queued to provider called, {provider}, p50 / p99", "ms", percentiles(found),
                   hop, details)
            for provider, found in called.items()
        ),
        Figure("start_process", "queued to process begun, local, p50 / p99", "ms", percentiles(started), hop, details),
        Figure("cancel_answered", "cancel answered, p50 / p99", "ms", percentiles(answered), commit, details),
        Figure("cancel_seen", "cancel asked to its process seen gone, local, p50 / p99", "ms", percentiles(ended), None,
               details),
    ]  # fmt: skip


class _Started:
    """One job started, waited for, and cancelled. Times are milliseconds; `queued_at` is the database's clock, the
    others are this machine's, which is the same one here."""

    process_began: float | None = None

    def __init__(
        self,
        product: Product,
        database: psycopg.Connection[Any],
        api: Connection,
        job_id: str,
        *,
        needs_process: bool,
    ) -> None:
        api.expect(202, "POST", f"/api/jobs/{job_id}/start/")
        queued, called, name = until(lambda: _create_call(database, job_id), "the provider's call")
        self.called = (called - queued).total_seconds() * 1000
        if needs_process:
            began = until(lambda: _began(product.home / "runs" / name / "work" / STARTED_FILE), "the local process")
            self.process_began = (began - queued.timestamp()) * 1000
        asked = time.perf_counter()
        answer = api.expect(202, "POST", f"/api/jobs/{job_id}/cancel/")
        self.cancel_answered = (time.perf_counter() - asked) * 1000
        if json.loads(answer.body)["status"] != "cancelling":
            raise RuntimeError(f"A cancelled job is {json.loads(answer.body)['status']}.")
        requested, completed = until(lambda: _cancelled(database, job_id), "the end of a cancelled job")
        self.cancelled = (completed - requested).total_seconds() * 1000


def _is_idle(database: psycopg.Connection[Any]) -> bool:
    """No job is started or stopped, and none has a worker. The jobs that are fed are looked at by nobody."""
    row = database.execute(
        "SELECT NOT EXISTS (SELECT FROM pipeline_job WHERE lease_until IS NOT NULL"
        " OR status IN ('queued', 'initializing', 'cancelling'))"
    ).fetchone()
    return bool(row and row[0])


def _create_call(database: psycopg.Connection[Any], job_id: str) -> tuple[Any, Any, str] | None:
    return database.execute(
        "SELECT job.queued_at, call.started_at, attempt.name FROM pipeline_providercall AS call"
        " JOIN pipeline_attempt AS attempt ON attempt.id = call.attempt_id"
        " JOIN pipeline_job AS job ON job.id = attempt.job_id"
        " WHERE job.id = %s AND call.op = 'create' AND call.ended_at IS NOT NULL",
        [job_id],
    ).fetchone()


def _cancelled(database: psycopg.Connection[Any], job_id: str) -> tuple[Any, Any] | None:
    return database.execute(
        "SELECT stop_requested_at, completed_at FROM pipeline_job WHERE id = %s AND status = 'cancelled'", [job_id]
    ).fetchone()


def _began(file: Path) -> float | None:
    """When the process wrote the file; by the file's date where `date` knows no nanoseconds."""
    if not file.exists():
        return None
    try:
        return float(file.read_text())
    except ValueError:
        return file.stat().st_mtime
