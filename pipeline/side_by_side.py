"""Several jobs beside each other: their curves, thinned for one chart, and what came out of each.

One statement reads the points of all jobs. What can stand on the x axis beside the step (epoch, tokens, time) is read
as curves over the step, too; whoever draws looks a step up in them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from django.db import connection
from django.utils import timezone

from pipeline.live.series import Floats, Steps, present, rounded, thin
from pipeline.live.state import live_cost
from pipeline.models import Job
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.querysets import ATTEMPT_FIELDS

MOST_JOBS = 20
MOST_NAMES = 20
LEAST_POINTS, DEFAULT_POINTS, MOST_POINTS = 10, 500, 2_000
DEFAULT_NAMES = ("loss", "eval_loss")
TOKENS = "num_tokens"
SECONDS = "seconds"  # since the first point; not a metric
AXES = ("epoch", TOKENS, SECONDS)


@dataclass
class Curves:
    """{name: {"step": [...], "value": [...]}}"""

    series: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    axes: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    began: float | None = None  # when the first point came, seconds since 1970
    points: int = 0  # stored
    thinned: bool = False


@dataclass(frozen=True)
class Results:
    """What came out of a job, so far. None: not known."""

    loss: float | None
    best_loss: float | None
    eval_loss: float | None
    best_eval_loss: float | None
    seconds: float | None  # from the first training step to the end, or to now
    tokens: float | None
    tokens_per_second: float | None  # on average
    cost: Decimal
    cost_per_million_tokens: Decimal | None


@dataclass(frozen=True)
class _Sums:
    best_loss: float | None = None
    best_eval_loss: float | None = None
    tokens_per_second: float | None = None
    elapsed: float | None = None


_NO_POINTS = _Sums()


def read_curves(job_ids: Sequence[UUID], names: Collection[str], points: int) -> dict[UUID, Curves]:
    """The curves of each job, with its axes, in one query. Who may see the jobs is the caller's to decide."""
    wanted = list(dict.fromkeys((*names, "epoch", TOKENS)))
    found: dict[UUID, Curves] = {job_id: Curves() for job_id in job_ids}
    for job_id, steps, moments, values in _blocks(job_ids, wanted):
        curves = found[job_id]
        curves.points, curves.began = len(steps), float(moments[0])
        for name, (at, column) in present(steps, dict(zip(wanted, values, strict=True))).items():
            kept = thin(at, column, points)
            curve = {"step": at[kept].tolist(), "value": rounded(column[kept])}
            if name in names:
                curves.series[name] = curve
                curves.thinned |= len(kept) < len(column)
            if name in AXES:
                curves.axes[name] = curve
        # A later attempt tells old steps again, later: on an axis time only moves on.
        seconds = np.maximum.accumulate(moments - moments[0])
        kept = thin(steps, seconds, points)
        curves.axes[SECONDS] = {"step": steps[kept].tolist(), "value": seconds[kept].round(3).tolist()}
    return found


def results(jobs: Sequence[Job], now: datetime | None = None) -> dict[UUID, Results]:
    """Of jobs from `with_attempt()`, in one query."""
    now = now or timezone.now()
    sums = _sums([job.pk for job in jobs])
    return {job.pk: _result(job, sums.get(job.pk, _NO_POINTS), now) for job in jobs}


def metric_names(jobs: Sequence[Job]) -> dict[str, int]:
    """How many of the jobs have each metric, those that all have first."""
    counts: dict[str, int] = {}
    for job in jobs:
        for name in job.current_metrics:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _result(job: Job, sums: _Sums, now: datetime) -> Results:
    newest = job.current_metrics
    attempt = {name: getattr(job, f"attempt_{name}") for name in ATTEMPT_FIELDS}
    cost = live_cost(job, attempt, now)
    # Programs that count tokens say so; of the others their pace and time are known.
    counted = _number(newest.get(TOKENS)) or _number(newest.get("num_input_tokens_seen"))
    tokens = counted or (sums.tokens_per_second * sums.elapsed if sums.tokens_per_second and sums.elapsed else None)
    return Results(
        loss=_number(newest.get("loss")),
        best_loss=sums.best_loss,
        eval_loss=_number(newest.get("eval_loss")),
        best_eval_loss=sums.best_eval_loss,
        seconds=((job.completed_at or now) - job.started_at).total_seconds() if job.started_at else None,
        tokens=tokens,
        tokens_per_second=sums.tokens_per_second,
        cost=cost,
        cost_per_million_tokens=cost * 1_000_000 / Decimal(tokens) if tokens and cost else None,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _sums(job_ids: list[UUID]) -> dict[UUID, _Sums]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT job_id, min(loss), min(eval_loss), avg(tokens_per_second), max(elapsed_seconds)"
            " FROM pipeline_metricpoint WHERE job_id = ANY(%s) GROUP BY job_id",
            [job_ids],
        )
        return {job_id: _Sums(*sums) for job_id, *sums in cursor.fetchall()}


def _blocks(job_ids: Sequence[UUID], names: list[str]) -> list[tuple[UUID, Steps, Floats, list[Floats]]]:
    """Step, time and each named value of every point, a job a row; NaN means that a step has no such value.

    As in `pipeline.live.series`, each column comes as one block of 8-byte numbers.
    """
    parameters: list[Any] = []
    inner = ""
    for index, name in enumerate(names):
        if name in METRIC_COLUMNS:
            value = name
        else:
            value = "(extra->>%s)::float8"
            parameters.append(name)
        inner += f", COALESCE({value}, 'NaN') AS v{index}"
    outer = "".join(f", string_agg(float8send(v{index}), '')" for index in range(len(names)))
    query = f"""
        SELECT uuid_send(job_id), string_agg(int8send(step), ''), string_agg(float8send(moment), ''){outer} FROM (
            SELECT job_id, step, EXTRACT(EPOCH FROM at)::float8 AS moment{inner}
            FROM pipeline_metricpoint WHERE job_id = ANY(%s) ORDER BY job_id, step
        ) AS ordered GROUP BY job_id"""  # noqa: S608 - column names are constants
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(query, [*parameters, list(job_ids)], binary=True)
        answer = cursor.pgresult
        assert answer is not None
        rows = [
            [answer.get_value(row, column) or b"" for column in range(len(names) + 3)] for row in range(answer.ntuples)
        ]
    return [
        (
            UUID(bytes=job),
            np.frombuffer(steps, ">i8").astype(np.int64),
            np.frombuffer(moments, ">f8").astype(np.float64),
            [np.frombuffer(block, ">f8").astype(np.float64) for block in blocks],
        )
        for job, steps, moments, *blocks in rows
    ]
