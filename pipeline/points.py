"""Metric points: from whatever JSON a script sent to one wide row a step, and into the table in one statement.

A bad value never costs the point, a bad point never costs the batch. A step that comes again, in pieces or from a
later attempt, is merged into its row, so repeats and disorder are harmless.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from pipeline.metric_names import NAME
from pipeline.models.telemetry import METRIC_COLUMNS

MAX_EXTRA = 64  # further names a point may carry beside the columns
MAX_STEP = 2**53  # beyond this a browser cannot tell two steps apart
_COLUMNS = frozenset(METRIC_COLUMNS)
_NONFINITE_WORDS = {
    "nan": "NaN",
    "inf": "Infinity",
    "+inf": "Infinity",
    "infinity": "Infinity",
    "-inf": "-Infinity",
    "-infinity": "-Infinity",
}


@dataclass
class Point:
    step: int
    at: datetime
    values: dict[str, float] = field(default_factory=dict)  # finite, columns only
    extra: dict[str, float] = field(default_factory=dict)  # finite, everything else
    nonfinite: dict[str, str] = field(default_factory=dict)  # name -> "NaN" | "Infinity" | "-Infinity"

    def merge(self, later: Point) -> None:
        for name in (*later.values, *later.extra):
            self.nonfinite.pop(name, None)
        for name in later.nonfinite:
            self.values.pop(name, None)
            self.extra.pop(name, None)
        self.values |= later.values
        self.extra |= later.extra
        self.nonfinite |= later.nonfinite
        self.at = later.at

    @property
    def finite(self) -> dict[str, float]:
        return self.values | self.extra


def parse_point(data: Any, at: datetime) -> tuple[Point | None, list[str]]:
    """One JSON value to a point and a sentence for each thing that could not be taken. No point without a step."""
    if not isinstance(data, Mapping):
        return None, ["A metric point is a JSON object with a “step” and numbers."]
    step = data.get("step")
    if isinstance(step, float) and step.is_integer():
        step = int(step)
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
        return None, ["“step” is a whole number from 0 up; this point has none, so it was left out."]
    point = Point(step, at)
    problems: list[str] = []
    for name, value in data.items():
        if name == "step" or value is None:
            continue
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.append(f"{str(name)[:70]!r} is not a metric name (letters, digits, _ . / : -, at most 64).")
            continue
        number = to_number(value)
        if number is None:
            problems.append(f"{name}: {type(value).__name__} is not a number.")
        elif isinstance(number, str):
            point.nonfinite[name] = number
        elif name in _COLUMNS:
            point.values[name] = number
        elif len(point.extra) < MAX_EXTRA:
            point.extra[name] = number
        else:
            problems.append(f"{name}: a point carries at most {MAX_EXTRA} names of its own.")
    return point, problems


def to_number(value: Any) -> float | str | None:
    """A finite float; the name of a value that is none ("NaN", "Infinity", "-Infinity"); or None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _NONFINITE_WORDS.get(value.strip().lower())
    if not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def merge_points(points: Sequence[Point]) -> list[Point]:
    """One point a step, in step order; of two values for the same name the later one stays."""
    by_step: dict[int, Point] = {}
    for point in points:
        if point.step in by_step:
            by_step[point.step].merge(point)
        else:
            by_step[point.step] = point
    return [by_step[step] for step in sorted(by_step)]


def store_points(job_id: UUID, attempt: int, seq: int, points: Sequence[Point]) -> None:
    """Write merged points under sequence number `seq`. A row of an earlier attempt is replaced, of a later one kept."""
    if not points:
        return
    columns: list[list[Any]] = [
        [p.step for p in points],
        [p.at for p in points],
        *([p.values.get(name) for p in points] for name in METRIC_COLUMNS),
        [json.dumps(p.extra) if p.extra else None for p in points],
        [json.dumps(p.nonfinite) if p.nonfinite else None for p in points],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT, [str(job_id), attempt, seq, *columns])


def _upsert_sql() -> str:
    """The statement of `store_points`, made once from the names of the columns alone."""
    names = ", ".join(METRIC_COLUMNS)
    casts = ["%s::bigint[]", "%s::timestamptz[]", *["%s::float8[]"] * len(METRIC_COLUMNS), "%s::text[]", "%s::text[]"]
    # A name that arrives as a number is no longer flagged; one that arrives flagged is no longer a number.
    columns = ", ".join(
        f"{name} = CASE WHEN EXCLUDED.attempt > old.attempt THEN EXCLUDED.{name}"
        f" WHEN EXCLUDED.nonfinite ? '{name}' THEN NULL ELSE COALESCE(EXCLUDED.{name}, old.{name}) END"
        for name in METRIC_COLUMNS
    )
    numbers = ", ".join(f"CASE WHEN EXCLUDED.{name} IS NOT NULL THEN '{name}' END" for name in METRIC_COLUMNS)
    return f"""
        INSERT INTO pipeline_metricpoint AS old (job_id, attempt, seq, step, at, {names}, extra, nonfinite)
        SELECT %s::uuid, %s, %s, step, at, {names}, extra::jsonb, nonfinite::jsonb
        FROM unnest({", ".join(casts)}) AS new (step, at, {names}, extra, nonfinite)
        ON CONFLICT (job_id, step) DO UPDATE SET
            seq = EXCLUDED.seq, attempt = EXCLUDED.attempt, at = EXCLUDED.at, {columns},
            extra = CASE WHEN EXCLUDED.attempt > old.attempt THEN EXCLUDED.extra ELSE {
        _merged("extra", gone="ARRAY" + _keys("nonfinite"))
    } END,
            nonfinite = CASE WHEN EXCLUDED.attempt > old.attempt THEN EXCLUDED.nonfinite ELSE {
        _merged("nonfinite", gone=f"array_remove(ARRAY[{numbers}], NULL) || ARRAY" + _keys("extra"))
    } END
        WHERE EXCLUDED.attempt >= old.attempt"""  # noqa: S608


def _keys(column: str) -> str:
    return f"(SELECT jsonb_object_keys(COALESCE(EXCLUDED.{column}, '{{}}')))"


def _merged(column: str, *, gone: str) -> str:
    """SQL for: the old object without the keys in `gone`, with the new object over it; null when nothing is left."""
    old, new = (f"COALESCE({table}.{column}, '{{}}')" for table in ("old", "EXCLUDED"))
    return f"NULLIF(({old} - ({gone})) || {new}, '{{}}')"


_UPSERT = _upsert_sql()
