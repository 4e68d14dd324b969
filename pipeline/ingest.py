"""What a run says, into the database. Each call is one transaction under the job's row lock; repeats change nothing.

The job's sequence number is taken in the same transaction, so an open page that pages by it misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from pipeline import limits, transitions, wake
from pipeline.models import Attempt, EventType, Job, LogLine, Sample
from pipeline.models.jobs import Desired
from pipeline.points import MAX_STEP, Point, merge_points, parse_point, store_points
from pipeline.providers.base import Machine, MachineState
from pipeline.services.errors import FieldError, InvalidInput
from pipeline.states import STAGES, AttemptState, JobStatus
from training.contract import MAX_LOG_TEXT, EventKind, Stage, Stop

MAX_SAMPLES = 1000
TRAINING_STAGES = frozenset({Stage.TRAINING, Stage.EVALUATING})


class AttemptOver(Exception):
    """The attempt has ended, or its program has said its last word: nothing more is taken from it."""


@dataclass
class Receipt:
    """The answer to one batch."""

    acked: int = 0  # all numbered lines up to here are stored
    stored: int = 0  # metric points stored by this call
    rejected: list[FieldError] = field(default_factory=list)
    stop: Stop | None = None
    save: float | None = None  # a checkpoint is wanted without a stop, since this time
    seconds_left: int | None = None  # how long the program may still run, by the limits as they are now


def record_metrics(attempt_id: UUID, items: Sequence[Any]) -> Receipt:
    """Store points of the public contract. Raise InvalidInput when not one could be taken, or AttemptOver."""
    now = timezone.now()
    parsed, receipt = [], Receipt()
    for index, item in enumerate(items):
        point, problems = parse_point(item, now)
        receipt.rejected += [FieldError(f"[{index}]", sentence) for sentence in problems]
        if point is not None:
            parsed.append(point)
    if receipt.rejected and not parsed:
        raise InvalidInput(receipt.rejected)
    with transaction.atomic():
        job, attempt = _lock(attempt_id)
        _store(job, attempt, _Batch(attempt.acked_n, points=parsed))
    receipt.stored, receipt.stop, receipt.acked = len(parsed), _stop_of(job), attempt.acked_n
    return receipt


def record_events(attempt_id: UUID, lines: Sequence[Any]) -> Receipt:
    """Store numbered event lines as far as they follow on what is stored; the program sends the rest again.

    Lines that were stored before are skipped, lines after a hole wait for their turn. Raise AttemptOver.
    """
    numbered = sorted((line for line in lines if _number(line) is not None), key=lambda line: int(line["n"]))
    with transaction.atomic():
        job, attempt = _lock(attempt_id)
        batch = _Batch(acked=attempt.acked_n)
        for line in numbered:
            if line["n"] <= batch.acked:
                continue
            if line["n"] != batch.acked + 1:
                break
            batch.acked = line["n"]
            _sort_in(batch, line)
        _store(job, attempt, batch)
    save = job.save_requested_at.timestamp() if job.save_requested_at and not batch.checkpoints else None
    left = limits.seconds_from_now(job, attempt)
    return Receipt(acked=batch.acked, stored=len(batch.points), stop=_stop_of(job), save=save, seconds_left=left)


def record_report(attempt: Attempt, machine: Machine) -> None:
    """Store what a provider told that reports itself, instead of a program that calls us."""
    report = machine.report
    if report is None or (machine.state is MachineState.STARTING and not report.points):
        return
    now = timezone.now()
    points = [point for data in report.points if (point := parse_point(data, now)[0]) is not None]
    with transaction.atomic():
        try:
            job, attempt = _lock(attempt.pk)
        except AttemptOver:
            return
        batch = _Batch(acked=attempt.acked_n, points=[p for p in points if p.step > attempt.reported_step])
        if report.total_steps is not None and not job.plan:
            batch.plan = {"total_steps": report.total_steps, "total_epochs": report.total_epochs}
        if report.stage and report.stage != job.current_stage:
            batch.stages = [(report.stage, "")]
        if batch.points:
            Attempt.objects.filter(pk=attempt.pk).update(reported_step=max(p.step for p in batch.points))
        for text in report.logs:
            batch.acked += 1
            batch.logs.append((batch.acked, now, "program", text))
        if batch.points or batch.stages or batch.plan or batch.logs or attempt.first_contact_at is None:
            _store(job, attempt, batch)


@dataclass
class _Batch:
    acked: int
    points: list[Point] = field(default_factory=list)
    logs: list[tuple[int, datetime, str, str]] = field(default_factory=list)  # n, at, stream, text
    stages: list[tuple[str, str]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)
    vitals: dict[str, float] = field(default_factory=dict)  # the newest heartbeat's numbers


def _lock(attempt_id: UUID) -> tuple[Job, Attempt]:
    """The job's row locked, then the attempt as it is now. Raise AttemptOver when it takes nothing more."""
    job = Job.objects.select_for_update(of=("self",)).get(attempts=attempt_id)
    attempt = Attempt.objects.get(pk=attempt_id)
    if not attempt.is_open or attempt.outcome:
        raise AttemptOver(attempt.name)
    return job, attempt


def _stop_of(job: Job) -> Stop | None:
    return Stop(job.stop_reason) if job.desired == Desired.STOP else None


def _number(line: Any) -> int | None:
    n = line.get("n") if isinstance(line, Mapping) else None
    return n if isinstance(n, int) and not isinstance(n, bool) and n >= 1 else None


def _sort_in(batch: _Batch, line: Mapping[str, Any]) -> None:
    """Put one line where it belongs. A line that makes no sense is acknowledged and noted, never sent for ever."""
    kind, data, at = line.get("kind"), line.get("data"), _time(line.get("t"))
    if not isinstance(data, Mapping):
        batch.warnings.append(f"Line {line['n']} carried no data and was left out.")
    elif kind == EventKind.METRIC:
        point, problems = parse_point(data, at)
        batch.warnings += problems
        if point is not None:
            batch.points.append(point)
    elif kind == EventKind.LOG:
        stream = data.get("stream") if data.get("stream") in ("stdout", "stderr", "program") else "stdout"
        batch.logs.append((line["n"], at, str(stream), plain_text(data.get("text"), MAX_LOG_TEXT)))
    elif kind == EventKind.STAGE and data.get("stage") in list(Stage):
        batch.stages.append((str(data["stage"]), plain_text(data.get("detail"), 300)))
    elif kind == EventKind.HEARTBEAT:
        batch.vitals = _numbers(data)
    elif kind == EventKind.PLAN:
        batch.plan = _numbers(data)
    elif kind == EventKind.CHECKPOINT and _is_count(data.get("step"), MAX_STEP):
        batch.checkpoints.append({"step": data["step"]})
    elif kind == EventKind.SAMPLE and _is_count(data.get("index"), MAX_SAMPLES):
        batch.samples.append(dict(data))
    else:
        batch.warnings.append(f"Line {line['n']} is of a kind this server does not know: {plain_text(kind, 40)}.")


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers under proper names, by the same rules as those of a metric point."""
    point, _ = parse_point({**data, "step": 0}, timezone.now())
    found = point.finite if point else {}
    return {name: int(number) if number.is_integer() else number for name, number in found.items()}


def _is_count(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below


def _store(job: Job, attempt: Attempt, batch: _Batch) -> None:
    points = merge_points(batch.points)
    trains = bool(points) or any(stage in TRAINING_STAGES for stage, _ in batch.stages)
    if trains and job.status == JobStatus.INITIALIZING:
        transitions.advance(
            job.pk, JobStatus.RUNNING, "Training has started.", stage="training", attempt=attempt.n, next_check_in=None,
            started_at=Coalesce("started_at", Now()),
        )  # fmt: skip
        job.current_stage = "training"
    if job.current_stage == "contact_lost" and not batch.stages:
        now_at = Stage.TRAINING if job.status == JobStatus.RUNNING else Stage.PREPARING
        transitions.set_stage(job.pk, now_at, "The training program calls again.", attempt=attempt.n)
    for stage, detail in batch.stages:
        transitions.set_stage(job.pk, stage, STAGES[stage], detail=detail, attempt=attempt.n)
    for checkpoint in batch.checkpoints:
        message = f"Checkpoint at step {checkpoint['step']}."
        transitions.record_event(job.pk, EventType.CHECKPOINT, message, data=checkpoint, attempt=attempt.n)
    for warning in batch.warnings[:20]:
        transitions.record_event(job.pk, EventType.WARNING, warning, level="warning", attempt=attempt.n)
    seq = transitions.allocate(job.pk)
    store_points(job.pk, attempt.n, seq, points)
    if any(point.nonfinite for point in points):
        wake.rules(job.pk)  # a diverged run costs money until its rule has seen it; all else waits for the next look
    LogLine.objects.bulk_create(
        [
            LogLine(job=job, attempt=attempt.n, n=n, seq=seq, at=at, stream=stream, text=text)
            for n, at, stream, text in batch.logs
        ],
        ignore_conflicts=True,
    )
    for sample in batch.samples:
        _store_sample(job, seq, sample)
    Job.objects.filter(pk=job.pk).update(**_live_fields(job, points, batch))
    fields: dict[str, Any] = {
        "acked_n": batch.acked,
        "last_seen_at": Now(),
        "first_contact_at": Coalesce("first_contact_at", Now()),
    }
    if attempt.state == AttemptState.INTENT:
        # The program calls before the answer to `create` was seen: it surely exists.
        fields["machine_seen_at"] = Coalesce("machine_seen_at", Now())
    Attempt.objects.filter(pk=attempt.pk).update(**fields)


def _live_fields(job: Job, points: list[Point], batch: _Batch) -> dict[str, Any]:
    """The job's live columns after this batch: the newest value of each name, and where the run stands."""
    fields: dict[str, Any] = {"updated_at": Now()}
    metrics = dict(job.current_metrics) | batch.vitals
    for point in points:
        metrics |= point.finite
        for name, word in point.nonfinite.items():
            metrics[name] = word
    if metrics != job.current_metrics:
        fields["current_metrics"] = metrics
    if batch.checkpoints and job.save_requested_at is not None:
        fields["save_requested_at"] = None
    if batch.plan:
        fields["plan"] = batch.plan
        fields["total_steps"] = _whole(batch.plan.get("total_steps")) or job.total_steps
        fields["total_epochs"] = batch.plan.get("total_epochs") or job.total_epochs
    if points:
        total = fields.get("total_steps", job.total_steps)
        fields["current_step"] = points[-1].step
        fields["current_epoch"] = metrics.get("epoch", job.current_epoch)
        told = points[-1].values.get("progress")
        progress = told if told is not None else 100 * points[-1].step / total if total else job.progress
        fields["progress"] = min(max(progress, 0.0), 100.0)
        fields["eta_seconds"] = metrics.get("remaining_seconds", job.eta_seconds)
        for name in ("current_epoch", "eta_seconds"):
            if isinstance(fields[name], str):
                fields[name] = getattr(job, name)
    return fields


def _store_sample(job: Job, seq: int, data: Mapping[str, Any]) -> None:
    """A sample comes twice, first with the base model's answer, later with the adapter's; what is new is added."""
    values: dict[str, Any] = {"seq": seq}
    if isinstance(data.get("prompt"), list):
        values["prompt"] = [
            {key: plain_text(turn.get(key), 20_000) for key in ("role", "content")}
            for turn in data["prompt"][:100]
            if isinstance(turn, Mapping)
        ]
    for name in ("expected", "before", "after"):
        if data.get(name) is not None:
            values[name] = plain_text(data[name], 20_000)
    for name in ("valid_before", "valid_after", "exact_before", "exact_after"):
        if isinstance(data.get(name), bool):
            values[name] = data[name]
    Sample.objects.update_or_create(
        job=job, index=data["index"], defaults=values, create_defaults={"prompt": [], "expected": ""} | values
    )


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 < value < 2**53 else None


def plain_text(value: Any, limit: int) -> str:
    """Text PostgreSQL can hold: no NUL, no half of a surrogate pair, not endless."""
    text = str(value if value is not None else "").replace("\x00", "␀")[:limit]
    return text.encode("utf-8", "replace").decode()


def _time(value: Any) -> datetime:
    """The program's clock as a time; our own when it sent nonsense."""
    try:
        return datetime.fromtimestamp(float(value), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return timezone.now()
