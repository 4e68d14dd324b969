"""Frames: everything stored about a job in a stretch of its sequence, as the socket and the API send it.

A frame for (after, seq] is complete because a job's numbers become visible in their order: the newest number is read
first, the rows up to it after. A row that is merged with a newer value between the two reads has moved to a higher
number and comes with a later frame; whoever receives frames puts points in place by their step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection
from django.utils import timezone

from pipeline.live.state import job_state, jobs_with_attempt
from pipeline.models import Job
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.states import ACTIVE

MAX_POINTS = 2_000
MAX_EVENTS = 500
MAX_LOGS = 500
MAX_LOG_CHARACTERS = 256_000
# Of all frames made at once; each gets its share, and what does not fit follows in its next frame.
MAX_POINTS_AT_ONCE = 20_000
LEAST_POINTS = 100

_POINT_COLUMNS = ("seq", "step", *METRIC_COLUMNS, "extra", "nonfinite")
_EVENT_COLUMNS = ("seq", "kind", "level", "message", "data", "attempt", "actor", "created_at")
_LOG_COLUMNS = ("seq", "attempt", "n", "at", "stream", "text")

Window = tuple[UUID, int]  # a job, and the number after which somebody wants to know
Row = tuple[Any, ...]


@dataclass(slots=True)
class Frame:
    """One message about one job, complete from `after` (exclusive) to `seq` (inclusive)."""

    job_id: UUID
    after: int
    seq: int
    head: int  # the job's newest number when the frame was made; beyond `seq` when the frame was full
    updated_at: datetime
    active: bool
    body: dict[str, Any] = field(repr=False)

    @property
    def more(self) -> bool:
        return self.seq < self.head

    @property
    def carries_rows(self) -> bool:
        return self.seq > self.after

    def encode(self) -> bytes:
        return msgspec.json.encode(self.body)


def job_frame(job_id: UUID, after: int, limit: int = MAX_POINTS) -> Frame | None:
    """The frame of one job, with at most `limit` points; None when there is no such job."""
    return job_frames([(job_id, after)], limit).get((job_id, after))


def job_frames(windows: Collection[Window], limit: int = MAX_POINTS) -> dict[Window, Frame]:
    """Frames for many windows with as many queries as for one. Windows of jobs that do not exist are left out.

    An `after` beyond the job's newest number (the database was restored from a backup, say) starts again from 0.
    """
    jobs = {job.pk: job for job in jobs_with_attempt({job_id for job_id, _ in windows})}
    wanted = [(job_id, after) for job_id, after in windows if job_id in jobs]
    if not wanted:
        return {}
    limit = min(limit, max(MAX_POINTS_AT_ONCE // len(wanted), LEAST_POINTS))
    spans = [
        _Span(job_id, after if after <= jobs[job_id].event_seq else 0, jobs[job_id].event_seq)
        for job_id, after in wanted
    ]
    points = _read(spans, "pipeline_metricpoint", _POINT_COLUMNS, "seq, step", limit)
    events = _read(spans, "pipeline_jobevent", _EVENT_COLUMNS, "seq", MAX_EVENTS)
    logs = _read(spans, "pipeline_logline", _LOG_COLUMNS, "seq, attempt, n", MAX_LOGS, text_column=5)
    samples = _read(spans, "pipeline_sample", ("seq", "index"), "seq, index", None)
    now = timezone.now()
    frames = {}
    for number, (window, span) in enumerate(zip(wanted, spans, strict=True)):
        job = jobs[window[0]]
        # A table that was cut ends the whole frame there: what lies beyond comes with the next one.
        parts = [[row for row in table[number] if row[0] <= span.upto] for table in (points, events, logs, samples)]
        frames[window] = Frame(
            job.pk,
            span.after,
            span.upto,
            job.event_seq,
            job.updated_at,
            job.status in ACTIVE,
            _body(job, span, now, *parts),
        )
    return frames


@dataclass(slots=True)
class _Span:
    job_id: UUID
    after: int
    upto: int  # lowered when a table has more rows than fit


def _read(
    spans: Sequence[_Span],
    table: str,
    columns: Sequence[str],
    order: str,
    limit: int | None,
    *,
    text_column: int | None = None,
) -> list[list[Row]]:
    """The rows of `table` for each span, in order. Lowers `upto` of a span that has more than `limit` rows (or text).

    Rows of one number are never parted: a client could not ask for the second half.
    """
    found = _query(spans, table, columns, order, None if limit is None else limit + 1)
    if limit is None:
        return found
    for number, (span, rows) in enumerate(zip(spans, found, strict=True)):
        cut = _cut(rows, limit, text_column)
        if cut is None:
            continue
        if rows[cut][0] > rows[0][0]:
            span.upto = min(span.upto, rows[cut][0] - 1)
        else:  # a single batch is larger than the limit; it goes out whole
            span.upto = min(span.upto, rows[0][0])
            (found[number],) = _query([_Span(span.job_id, span.upto - 1, span.upto)], table, columns, order, None)
    return found


def _cut(rows: Sequence[Row], limit: int, text_column: int | None) -> int | None:
    """The index of the first row that does not fit."""
    if text_column is not None:
        total = 0
        for index, row in enumerate(rows):
            total += len(row[text_column])
            if total > MAX_LOG_CHARACTERS and index:
                return min(index, limit)
    return limit if len(rows) > limit else None


def _query(
    spans: Sequence[_Span], table: str, columns: Sequence[str], order: str, limit: int | None
) -> list[list[Row]]:
    names = ", ".join(f'"{name}"' for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT span.number, found.* FROM unnest(%s::uuid[], %s::bigint[], %s::bigint[]) WITH ORDINALITY
                AS span (job_id, after, upto, number)
            CROSS JOIN LATERAL (
                SELECT {names} FROM {table} WHERE job_id = span.job_id AND seq > span.after AND seq <= span.upto
                ORDER BY {order} LIMIT %s
            ) AS found ORDER BY span.number, {order}
            """,  # noqa: S608 - table and columns are constants of this file
            [[s.job_id for s in spans], [s.after for s in spans], [s.upto for s in spans], limit],
        )
        found: list[list[Row]] = [[] for _ in spans]
        for number, *row in cursor.fetchall():
            found[number - 1].append(tuple(row))
    return found


def _body(
    job: Job, span: _Span, now: datetime, points: list[Row], events: list[Row], logs: list[Row], samples: list[Row]
) -> dict[str, Any]:
    metrics, nonfinite = _columns(points)
    return {
        "t": "job",
        "id": str(job.pk),
        "after": span.after,
        "seq": span.upto,
        "more": span.upto < job.event_seq,
        "job": job_state(job, now),
        "metrics": metrics,
        "nonfinite": nonfinite,
        "events": [
            {
                "seq": seq,
                "kind": kind,
                "level": level,
                "message": message,
                "data": msgspec.json.decode(data),
                "attempt": attempt,
                "actor": actor,
                "at": at.isoformat(),
            }
            for seq, kind, level, message, data, attempt, actor, at in events
        ],
        "logs": [
            {"n": n, "attempt": attempt, "at": at.isoformat(), "stream": stream, "text": text}
            for _, attempt, n, at, stream, text in logs
        ],
        # Only which ones changed: their texts are long, and the page that shows them asks for them.
        "samples": [index for _, index in samples],
    }


def _columns(rows: list[Row]) -> tuple[dict[str, list[Any]], list[dict[str, Any]]]:
    """Points to columns by step, null where a step has no value, without names nobody has; and the flagged values."""
    if not rows:
        return {"step": []}, []
    rows = sorted(rows, key=lambda row: row[1])
    _, steps, *columns, extras, flags = (list(column) for column in zip(*rows, strict=True))
    named = zip(METRIC_COLUMNS, columns, strict=True)
    metrics = {"step": steps} | {name: column for name, column in named if any(value is not None for value in column)}
    own: dict[str, list[Any]] = defaultdict(lambda: [None] * len(rows))
    for index, extra in enumerate(extras):
        if extra is not None:
            for name, value in msgspec.json.decode(extra).items():
                own[name][index] = value
    metrics |= own
    nonfinite = [
        {"step": step, "name": name, "value": word}
        for step, flagged in zip(steps, flags, strict=True)
        if flagged is not None
        for name, word in msgspec.json.decode(flagged).items()
    ]
    return metrics, nonfinite
