"""What a page reads: the curves of a long run, one job, the list of jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg

from benchmarks.product import Product
from benchmarks.rawsql import NAMES
from benchmarks.report import Figure, Floor, percentiles
from benchmarks.sizes import Sizes

POINTS = 1500
STEPS_A_BATCH = 125
PAGE = 50  # jobs in one answer of the list


def measure(product: Product, sizes: Sizes) -> list[Figure]:
    (job,) = product.fed_jobs(1)
    with product.database() as database:
        _store(database, job["id"], sizes.stored_steps)
        curves = _floor(
            sizes.reads,
            "COPY of the columns out of the table",
            lambda: _copy_out(
                database, f"SELECT step, {', '.join(NAMES)} FROM pipeline_metricpoint WHERE job_id = %s ORDER BY step",
                job["id"],
            ),
        )  # fmt: skip
        one = _floor(
            sizes.reads,
            "SELECT of the row",
            lambda: database.execute("SELECT * FROM pipeline_job WHERE id = %s", [job["id"]]).fetchall(),
        )
        many = _floor(
            sizes.reads,
            "SELECT of the rows",
            lambda: database.execute(f"SELECT * FROM pipeline_job ORDER BY created_at DESC LIMIT {PAGE}").fetchall(),
        )
    wanted = (
        ("read_curves", f"curves of {sizes.stored_steps:,} steps as {POINTS:,} points",
         f"/api/jobs/{job['id']}/metrics/?points={POINTS}", curves),
        ("read_job", "one job", f"/api/jobs/{job['id']}/", one),
        ("read_list", f"list of {PAGE} jobs", f"/api/jobs/?page_size={PAGE}", many),
        ("read_nothing", "an answer without content (/healthz)", "/healthz", None),
    )  # fmt: skip
    return [_figure(product, sizes.reads, *one_wanted) for one_wanted in wanted]


def _figure(product: Product, reads: int, key: str, what: str, path: str, floor: Floor | None) -> Figure:
    connection = product.api()
    size = 0

    def read() -> None:
        nonlocal size
        size = len(connection.expect(200, "GET", path).body)

    values = percentiles(timed(reads, read))
    connection.close()
    return Figure(key, f"{what}, {_size(size)}, p50 / p99", "ms", values, floor, {"reads": reads, "bytes": size})


def timed(times: int, do: Callable[[], Any]) -> list[float]:
    """Milliseconds of each of `times` calls after two that do not count."""
    found = []
    for _ in range(times + 2):
        began = time.perf_counter()
        do()
        found.append((time.perf_counter() - began) * 1000)
    return found[2:]


def _floor(times: int, what: str, do: Callable[[], Any]) -> Floor:
    return Floor(what, percentiles(timed(times, do)))


def _store(database: psycopg.Connection[Any], job_id: str, steps: int) -> None:
    """A run of the past, with curves that go up and down; vacuumed, as the database does after a while by itself."""
    curves = ("3 * exp(-n / 30000.0) + random() / 4", "2e-4 * (1 - n / 200000.0)", "1 + random()", "n / 40000.0",
              "1 - exp(-n / 50000.0) / 2", "1800 + 100 * random()", "n * 0.4", "17.3")  # fmt: skip
    database.execute(
        f"INSERT INTO pipeline_metricpoint (job_id, step, seq, attempt, at, {', '.join(NAMES)})"
        f" SELECT %s, n, n / {STEPS_A_BATCH} + 1, 1, now(), {', '.join(curves)} FROM generate_series(1, %s) AS n",
        [job_id, steps],
    )
    database.execute(
        "UPDATE pipeline_job SET event_seq = %s, current_step = %s WHERE id = %s",
        [steps // STEPS_A_BATCH + 1, steps, job_id],
    )
    database.execute("VACUUM ANALYZE pipeline_metricpoint")


def _copy_out(database: psycopg.Connection[Any], query: str, job_id: str) -> int:
    statement = f"COPY ({query.replace('%s', psycopg.sql.quote(job_id))}) TO STDOUT (FORMAT binary)"
    with database.cursor() as cursor, cursor.copy(statement) as copy:
        return sum(len(block) for block in copy)


def _size(count: int) -> str:
    return f"{count / 1000:,.0f} kB" if count >= 1000 else f"{count} bytes"
