"""Metrics over HTTP into the table: values a second, posts a second, and whether every acknowledged step is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from benchmarks import rawsql
from benchmarks.http import Connection, Refused
from benchmarks.processes import Ready, Together, cpu_seconds
from benchmarks.product import Product
from benchmarks.report import Figure, Floor, percentiles
from benchmarks.sizes import Sizes

BATCH = 125
VALUES = len(rawsql.NAMES)
WARM_UP_POSTS = 3
LOSS_STEPS = 1024.0  # a power of two: step / 1024 is exact in JSON, Python and PostgreSQL


@dataclass
class Fed:
    """What one client sent. `acknowledged` counts the warm-up too, `steps` does not."""

    job_id: str
    acknowledged: int = 0
    steps: int = 0
    began: float = 0.0  # of the monotonic clock, which all processes share
    ended: float = 0.0
    cpu: float = 0.0
    later: int = 0  # answers "try again later"
    milliseconds: list[float] = field(default_factory=list)


def feed(ready: Ready, port: int, job: dict[str, str], steps_a_post: int, seconds: float) -> Fed:
    """One training program that has much to tell, on one connection, in a process of its own."""
    connection = Connection(port, Authorization=f"Bearer {job['token']}")
    path = f"/api/training/jobs/{job['id']}/metrics"
    bodies = _bodies(steps_a_post)
    fed = Fed(job["id"])
    for _ in range(WARM_UP_POSTS):
        _post(connection, path, next(bodies), fed)
        fed.acknowledged += steps_a_post
    fed.later = 0
    ready()
    cpu = time.process_time()
    fed.began = time.monotonic()
    while (sent := time.monotonic()) < fed.began + seconds:
        body = next(bodies)
        sent = time.monotonic()
        _post(connection, path, body, fed)
        fed.ended = time.monotonic()
        fed.milliseconds.append((fed.ended - sent) * 1000)
        fed.steps += steps_a_post
    fed.acknowledged += fed.steps
    fed.cpu = time.process_time() - cpu
    return fed


def _post(connection: Connection, path: str, body: bytes, fed: Fed) -> None:
    """Send until it is taken, as the training program does."""
    while (answer := connection.request("POST", path, body)).status in (429, 503):
        fed.later += 1
        time.sleep(float(answer.headers.get("retry-after", 1)))
    if answer.status != 200:
        raise Refused(f"A post was answered with {answer.status}: {answer.body[:500].decode()}")


def _bodies(steps: int) -> Iterator[bytes]:
    first = 1
    while True:
        points = [{"step": step, **point_values(step)} for step in range(first, first + steps)]
        yield msgspec.json.encode(points if steps > 1 else points[0])
        first += steps


def point_values(step: int) -> dict[str, float]:
    """Eight values, with as many digits as a trainer sends."""
    return dict(zip(rawsql.NAMES, (step / LOSS_STEPS, *rawsql.REST), strict=True))


def measure(product: Product, sizes: Sizes) -> tuple[list[Figure], dict[str, int]]:
    """The figures, and the check of what is stored: {"acknowledged", "stored", "correct"} in steps."""
    few = min(8, sizes.most_clients)
    floors = _floors(product, sizes, few)
    figures, every = [], []
    for clients in sorted({1, few, sizes.most_clients}):
        fed, details = _together(product, clients, BATCH, sizes.ingest_seconds)
        every += fed
        figures.append(
            Figure(
                f"ingest_batches_{clients}",
                f"ingest, batches of {BATCH} steps x {VALUES}, {_count(clients)}",
                "values/s",
                {"rate": details["steps_a_second"] * VALUES},
                floors["merge_1" if clients == 1 else "merge_many"],
                details,
            )
        )
    fed, details = _together(product, few, 1, sizes.ingest_seconds)
    every += fed
    figures += [
        Figure(
            "ingest_single",
            f"ingest, single steps, {_count(few)}",
            "posts/s",
            {"rate": details["steps_a_second"]},
            floors["single"],
            details,
        ),
        Figure("ingest_single_answer", "a single step answered, p50 / p99", "ms", details["answered_ms"]),
        Figure("ingest_single_cpu", "processor time a single step, web", "ms", {"mean": details["web_cpu_ms_a_post"]}),
    ]
    copy = floors["copy"]
    figures.append(Figure("floor_copy", f"floor alone: {copy.what}", "values/s", copy.values))
    return figures, _check(product, every)


def _together(product: Product, clients: int, steps_a_post: int, seconds: float) -> tuple[list[Fed], dict[str, Any]]:
    calls = [(feed, (product.port, job, steps_a_post, seconds)) for job in product.fed_jobs(clients)]
    with Together(calls) as together:
        web, database = cpu_seconds(product.web_processes()), cpu_seconds(product.database_process())
        fed: list[Fed] = together.results(seconds + 60)
        web = cpu_seconds(product.web_processes()) - web
        database = cpu_seconds(product.database_process()) - database
    lasted = max(one.ended for one in fed) - min(one.began for one in fed)
    answered = [taken for one in fed for taken in one.milliseconds]
    posts = len(answered)
    return fed, {
        "clients": clients,
        "posts": posts,
        "seconds": round(lasted, 2),
        "steps_a_second": round(sum(one.steps for one in fed) / lasted, 1),
        "answered_ms": {name: round(value, 2) for name, value in percentiles(answered).items()},
        "asked_to_wait": sum(one.later for one in fed),
        "web_cpu_ms_a_post": round(1000 * web / posts, 2),
        "database_cpu_ms_a_post": round(1000 * database / posts, 2),
        "client_cpu_ms_a_post": round(1000 * sum(one.cpu for one in fed) / posts, 2),
    }


def _floors(product: Product, sizes: Sizes, connections: int) -> dict[str, Floor]:
    found = {}
    for name, how, count, rows in (
        ("copy", "copy", connections, BATCH),
        ("merge_1", "merge", 1, BATCH),
        ("merge_many", "merge", connections, BATCH),
        ("single", "merge", connections, 1),
    ):
        jobs = product.fed_jobs(count)
        calls = [(rawsql.write, (product.database_url, job["id"], how, rows, sizes.floor_seconds)) for job in jobs]
        with Together(calls) as together:
            written: list[rawsql.Written] = together.results(sizes.floor_seconds + 60)
        lasted = max(one.ended for one in written) - min(one.began for one in written)
        rate = sum(one.rows for one in written) / lasted
        statement = {"copy": "binary COPY", "merge": "INSERT .. ON CONFLICT DO UPDATE"}[how]
        a_commit = f"{rows} rows a commit" if rows > 1 else "one row a commit"
        what = f"{statement}, {a_commit}, {count} connection{'s' * (count > 1)}"
        found[name] = Floor(what, {"rate": rate if rows == 1 else rate * VALUES})
    return found


def _check(product: Product, every: list[Fed]) -> dict[str, int]:
    """Compare table and answers. A step cannot be there twice: its job and number are the table's key."""
    with product.database() as database:
        rows = database.execute(
            "SELECT job_id::text, count(*), count(*) FILTER (WHERE step BETWEEN 1 AND acknowledged"
            f" AND loss = step::float8 / {LOSS_STEPS} AND num_nonnulls({', '.join(rawsql.NAMES)}) = {VALUES})"
            " FROM pipeline_metricpoint JOIN unnest(%s::uuid[], %s::bigint[]) AS fed (id, acknowledged) ON job_id = id"
            " GROUP BY job_id",
            [[one.job_id for one in every], [one.acknowledged for one in every]],
        ).fetchall()
    return {
        "acknowledged": sum(one.acknowledged for one in every),
        "stored": sum(stored for _, stored, _ in rows),
        "correct": sum(correct for _, _, correct in rows),
    }


def _count(clients: int) -> str:
    return f"{clients} client{'s' * (clients > 1)}"
