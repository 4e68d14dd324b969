"""The floor of ingest: the same rows into the same table, straight from the driver, with nothing around."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from benchmarks.processes import Ready

NAMES = (
    "loss", "learning_rate", "grad_norm", "epoch",
    "mean_token_accuracy", "tokens_per_second", "elapsed_seconds", "gpu_memory_allocated_gb",
)  # fmt: skip
REST = (0.000183746501, 1.29384756, 0.417382, 0.71829374, 1834.2918, 412.881, 17.33)  # values of all but the loss
_COLUMNS = ("job_id", "step", "seq", "attempt", "at", *NAMES)
_TYPES = ("V16", ">i8", ">i8", ">i2", ">i8", *[">f8"] * len(NAMES))  # as the binary format writes them
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MERGE = f"""
    INSERT INTO pipeline_metricpoint ({", ".join(_COLUMNS)})
    SELECT %b, step, %b, 1, now(), {", ".join(NAMES)}
    FROM unnest(%b::bigint[], {", ".join(["%b::float8[]"] * len(NAMES))}) AS new (step, {", ".join(NAMES)})
    ON CONFLICT (job_id, step) DO UPDATE SET seq = EXCLUDED.seq, attempt = EXCLUDED.attempt, at = EXCLUDED.at,
        {", ".join(f"{name} = EXCLUDED.{name}" for name in NAMES)}"""


@dataclass
class Written:
    rows: int
    began: float
    ended: float


def write(ready: Ready, url: str, job_id: str, how: str, rows: int, seconds: float) -> Written:
    """Commit `rows` steps after another for `seconds`, by "copy" or by "merge", which repeats would not harm."""
    with psycopg.connect(url) as connection:
        make: Callable[..., Callable[[int], None]] = {"copy": _copy, "merge": _merge}[how]
        put = make(connection, UUID(job_id), rows)
        put(1)
        connection.commit()
        ready()
        written = Written(0, time.monotonic(), 0.0)
        while time.monotonic() < written.began + seconds:
            put(1 + rows + written.rows)
            connection.commit()
            written.rows += rows
            written.ended = time.monotonic()
    return written


def _copy(connection: psycopg.Connection[Any], job_id: UUID, rows: int) -> Callable[[int], None]:
    row: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in zip(_COLUMNS, _TYPES, strict=True):
        row += [(f"{name}_size", ">i4"), (name, kind)]
    block = np.zeros(rows, np.dtype(row))
    block["fields"] = len(_COLUMNS)
    for name in _COLUMNS:
        block[f"{name}_size"] = block.dtype[name].itemsize
    block["job_id"] = np.void(job_id.bytes)
    block["seq"] = block["attempt"] = 1
    block["at"] = int((datetime.now(UTC) - _EPOCH).total_seconds() * 1e6)
    for name, value in zip(NAMES[1:], REST, strict=True):
        block[name] = value
    head = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    statement = f"COPY pipeline_metricpoint ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT binary)"

    def put(first: int) -> None:
        block["step"] = np.arange(first, first + rows)
        block["loss"] = block["step"] / 1024
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(head + block.tobytes() + b"\xff\xff")

    return put


def _merge(connection: psycopg.Connection[Any], job_id: UUID, rows: int) -> Callable[[int], None]:
    rest = [[value] * rows for value in REST]
    cursor = connection.cursor()

    def put(first: int) -> None:
        steps = list(range(first, first + rows))
        cursor.execute(_MERGE, [job_id, 1, steps, [step / 1024 for step in steps], *rest], prepare=True)

    return put
