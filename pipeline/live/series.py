"""History for charts: whole series of a job, thinned on the server to what a chart can show.

The database hands each column over as one block of 8-byte floats, so 100,000 steps cost no Python object each. Stored
values are always finite, which leaves NaN free to mean "this step has no such value".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
import psycopg
from django.db import connection
from tsdownsample import MinMaxLTTBDownsampler

from pipeline.models import Job
from pipeline.models.telemetry import METRIC_COLUMNS

DEFAULT_POINTS = 1_500
LEAST_POINTS = 10
MOST_POINTS = 20_000
MAX_NONFINITE = 500
SIGNIFICANT_DIGITS = 6
_POWERS_OF_TEN = np.array([float(10**power) for power in range(23)])

Floats = np.ndarray[Any, np.dtype[np.float64]]
Steps = np.ndarray[Any, np.dtype[np.int64]]
_Lists = list[dict[str, float]]


@dataclass(frozen=True)
class Wanted:
    """What a chart asks for. Steps are inclusive; no `names` means all."""

    points: int = DEFAULT_POINTS
    first: int | None = None
    last: int | None = None
    names: frozenset[str] = frozenset()

    def wants(self, name: str) -> bool:
        return not self.names or name in self.names

    @property
    def wants_extras(self) -> bool:
        return not self.names or bool(self.names - set(METRIC_COLUMNS))


def read_series(job_id: UUID, wanted: Wanted) -> dict[str, Any] | None:
    """{"seq", "series": {name: {"step", "value"}}, "total_steps_stored", "downsampled", "nonfinite", ...}, or None.

    `seq` is read first: frames after it continue the series without a gap.
    """
    seq = Job.objects.filter(pk=job_id).values_list("event_seq", flat=True).first()
    if seq is None:
        return None
    block = _read_block(job_id, wanted)
    found = present(block.steps, block.columns)
    if block.with_extra and wanted.wants_extras:
        found |= _read_extras(job_id, wanted)
    series = {}
    downsampled = False
    for name, (steps, values) in found.items():
        kept = thin(steps, values, wanted.points)
        downsampled |= len(kept) < len(values)
        series[name] = {"step": steps[kept].tolist(), "value": rounded(values[kept])}
    whole = wanted.first is None and wanted.last is None
    return {
        "seq": seq,
        "series": series,
        "total_steps_stored": len(block.steps) if whole else _count(job_id),
        "downsampled": downsampled,
        "nonfinite": _read_nonfinite(job_id, wanted) if block.with_flags else [],
    }


def thin(steps: Steps, values: Floats, points: int) -> Any:
    """Indexes of at most `points` values that keep the look of the curve: peaks, first and last point."""
    if len(values) <= points:
        return np.arange(len(values))
    return MinMaxLTTBDownsampler().downsample(steps, values, n_out=points)


@dataclass(frozen=True)
class _Block:
    steps: Steps
    columns: dict[str, Floats]  # a value a step; NaN means none
    with_extra: int  # how many of the steps have values in `extra`
    with_flags: int  # how many have flagged values


def _read_block(job_id: UUID, wanted: Wanted) -> _Block:
    names = [name for name in METRIC_COLUMNS if wanted.wants(name)]
    inner = "".join(f", COALESCE({name}, 'NaN') AS {name}" for name in names)
    outer = "".join(f", string_agg(float8send({name}), '')" for name in names)
    where, parameters = _where(job_id, wanted)
    query = f"""
        SELECT count(extra), count(nonfinite), string_agg(int8send(step), ''){outer} FROM (
            SELECT step, extra, nonfinite{inner} FROM pipeline_metricpoint WHERE {where} ORDER BY step
        ) AS ordered"""  # noqa: S608 - column names are constants
    connection.ensure_connection()
    # Django's cursors fetch text; the blocks are taken as they come over the wire.
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(query, parameters, binary=True)
        assert cursor.pgresult is not None
        extra, flags, *blocks = (cursor.pgresult.get_value(0, index) or b"" for index in range(len(names) + 3))
    steps = np.frombuffer(blocks[0], ">i8").astype(np.int64)
    columns = {
        name: np.frombuffer(block, ">f8").astype(np.float64) for name, block in zip(names, blocks[1:], strict=True)
    }
    return _Block(steps, columns, int.from_bytes(extra, "big"), int.from_bytes(flags, "big"))


def present(steps: Steps, columns: dict[str, Floats]) -> dict[str, tuple[Steps, Floats]]:
    """Each column without the steps at which it has no value; columns without any value are left out."""
    present = {}
    for name, values in columns.items():
        has_value = ~np.isnan(values)
        if has_value.all() and len(values):
            present[name] = (steps, values)
        elif has_value.any():
            present[name] = (steps[has_value], values[has_value])
    return present


def _read_extras(job_id: UUID, wanted: Wanted) -> dict[str, tuple[Steps, Floats]]:
    """The names a program made up itself. They sit in one JSON object a step, so they are read as one JSON document."""
    where, parameters = _where(job_id, wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT '[' || string_agg(step::text, ',') || ']', '[' || string_agg(extra::text, ',') || ']' FROM (
                SELECT step, extra FROM pipeline_metricpoint WHERE {where} AND extra IS NOT NULL ORDER BY step
            ) AS ordered""",  # noqa: S608 - the condition holds placeholders only
            parameters,
        )
        steps_json, extras_json = cursor.fetchone()
    if steps_json is None:
        return {}
    steps = np.array(msgspec.json.decode(steps_json, type=list[int]), np.int64)
    extras = msgspec.json.decode(extras_json, type=_Lists)
    names = sorted(name for name in set[str]().union(*extras) if wanted.wants(name))
    # NumPy makes NaN of None.
    return present(steps, {name: np.array([extra.get(name) for extra in extras], np.float64) for name in names})


def _read_nonfinite(job_id: UUID, wanted: Wanted) -> list[dict[str, Any]]:
    """The first flagged values: where a run began to diverge matters, not that it stayed so."""
    where, parameters = _where(job_id, wanted)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT step, nonfinite FROM pipeline_metricpoint WHERE {where} AND nonfinite IS NOT NULL "  # noqa: S608
            f"ORDER BY step LIMIT {MAX_NONFINITE}",
            parameters,
        )
        rows = cursor.fetchall()
    flagged = [
        {"step": step, "name": name, "value": word}
        for step, words in rows
        for name, word in msgspec.json.decode(words).items()
        if wanted.wants(name)
    ]
    return flagged[:MAX_NONFINITE]


def _count(job_id: UUID) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pipeline_metricpoint WHERE job_id = %s", [job_id])
        return int(cursor.fetchone()[0])


def _where(job_id: UUID, wanted: Wanted) -> tuple[str, list[Any]]:
    clauses, parameters = ["job_id = %s"], [job_id]
    for clause, bound in (("step >= %s::bigint", wanted.first), ("step <= %s::bigint", wanted.last)):
        if bound is not None:
            clauses.append(clause)
            parameters.append(bound)  # type: ignore[arg-type]
    return " AND ".join(clauses), parameters


def rounded(values: Floats) -> list[float]:
    """Values with six significant digits, which is more than a chart can show and a third of the text."""
    with np.errstate(divide="ignore"):
        exponents = np.floor(np.log10(np.abs(values)))
    # These powers of ten are exact, so the quotient is the very number that the short text stands for.
    shift = SIGNIFICANT_DIGITS - 1 - exponents
    plain = (shift >= 0) & (shift < len(_POWERS_OF_TEN))
    scale = _POWERS_OF_TEN[np.where(plain, shift, 0).astype(np.intp)]
    rounded = np.rint(values * scale) / scale
    if not plain.all():
        rounded[~plain] = [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values[~plain].tolist()]
    return rounded.tolist()
