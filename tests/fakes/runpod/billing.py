"""GET /billing/pods: what was charged, by pod and time bucket, as far as the records have come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.fakes.runpod.clock import parse, text
from tests.fakes.runpod.pod import Pod

BUCKETS = {"hour": 3600, "day": 86_400, "week": 604_800}
DISK_GB_MONTH = Decimal("0.10")
HOURS_A_MONTH = 730


def records(
    pods: Sequence[Pod], query: Mapping[str, str], now: float, lag: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and metadata. Raise ValueError with a sentence for a query that cannot be answered."""
    size = query.get("bucketSize", "day")
    if size not in BUCKETS:
        raise ValueError(f"bucketSize must be one of {', '.join(BUCKETS)}")
    width = BUCKETS[size]
    try:
        end = parse(query["endTime"]) if "endTime" in query else now
        start = parse(query["startTime"]) if "startTime" in query else end - 30 * 86_400
        if "lastN" in query:
            start = end - int(query["lastN"]) * width
    except ValueError:
        raise ValueError("startTime and endTime must be RFC 3339 times, lastN a number") from None
    wanted = [pod for pod in pods if query.get("podId", pod.id) == pod.id]
    rows = [row for pod in wanted for row in _of_pod(pod, start, min(end, now - lag), width)]
    total = sum((Decimal(str(row["totalAmount"])) for row in rows), Decimal(0))
    metadata = {
        "query": dict(query),
        "recordCount": len(rows),
        "uniquePodCount": len({row["podId"] for row in rows}),
        "totals": {"totalAmount": float(total)},
    }
    return rows, metadata


def _of_pod(pod: Pod, start: float, end: float, width: int) -> list[dict[str, Any]]:
    rows = []
    bucket = _floor(max(start, pod.created_at), width)
    stop = end if pod.ended_at is None else min(end, pod.ended_at)
    while bucket < stop:
        amount = pod.bill_between(bucket, min(bucket + width, end))
        if amount > 0:
            disk = min(amount, _disk(pod, bucket, min(bucket + width, stop)))
            rows.append(
                {
                    "startTime": text(bucket),
                    "endTime": text(bucket + width),
                    "podId": pod.id,
                    "totalAmount": _money(amount),
                    "gpuAmount": _money(amount - disk),
                    "cpuAmount": 0,
                    "diskAmount": _money(disk),
                }
            )
        bucket += width
    return rows


def _disk(pod: Pod, start: float, end: float) -> Decimal:
    """The part of the price that is the disk's: `cost` is said to include it."""
    hours = Decimal(str(max(0.0, end - max(start, pod.created_at)) / 3600))
    return hours * DISK_GB_MONTH / HOURS_A_MONTH * (pod.body.get("disk") or 0)


def _floor(moment: float, width: int) -> float:
    begin = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday: weeks begin there, and so do days and hours
    passed = datetime.fromtimestamp(moment, UTC) - begin
    return (begin + timedelta(seconds=passed.total_seconds() // width * width)).timestamp()


def _money(amount: Decimal) -> float:
    return float(round(amount, 8))
