"""How fast jobs have gone: what estimates learn from. One query, however many machines are asked about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from django.db.models import Exists, F, OuterRef, Q, Subquery, Window
from django.db.models.functions import RowNumber

from pipeline.models import Attempt, Job, MetricPoint

LEARN_FROM = 20  # of the newest jobs on each kind of machine


@dataclass(frozen=True)
class Task:
    """What there is to train, whatever trains it."""

    base_model: str
    hyperparameters: Mapping[str, Any]
    rows: int
    mean_tokens: float | None  # of a row; None where the check did not count tokens

    @classmethod
    def of(cls, job: Job) -> Self:
        mean = (job.dataset.report.get("tokens") or {}).get("mean")
        return cls(job.base_model, job.hyperparameters, job.dataset.total_training_pairs, mean or None)

    @property
    def tokens_per_row(self) -> float | None:
        return float(min(self.mean_tokens, self.hyperparameters["max_length"])) if self.mean_tokens else None

    def work(self, gpus: int) -> float | None:
        """How much there is to do: estimated tokens, or rows where tokens are not known. None: nothing to do."""
        values = self.hyperparameters
        if (values.get("max_steps") or -1) > 0:
            per_step = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * gpus
            rows = float(values["max_steps"] * per_step)
        else:
            rows = float(self.rows * values["num_train_epochs"])
        return rows * (self.tokens_per_row or 1.0) or None


@dataclass(frozen=True)
class Place:
    """One kind of machine."""

    provider: str
    gpu_type: str
    gpus: int


@dataclass(frozen=True)
class Run:
    """What one job has shown, whether it came to its end or not: as many steps as it did are evidence of its pace."""

    task: Task
    gpus: int
    pace: float  # seconds for each unit of work
    around: float | None  # seconds of machine besides training; known of jobs that came to their end


def runs(places: Iterable[Place]) -> dict[tuple[str, str], list[Run]]:
    """The newest runs by (provider, type of GPU), with any number of GPUs, any model and any settings."""
    wanted: dict[str, set[str]] = defaultdict(set)
    for place in places:
        wanted[place.provider].add(place.gpu_type)
    if not wanted:
        return {}
    kinds = Q()
    for provider, types in wanted.items():
        kinds |= Q(provider=provider, gpu_type__in=types)
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for row in _ended(kinds):
        if (run := _run(row)) is not None:
            found[row["provider"], row["gpu_type"]].append(run)
    return found


def _ended(kinds: Q) -> Any:
    """Jobs of one attempt that were seen to train: with several, which time belongs to which steps is not plain."""
    points = MetricPoint.objects.filter(job=OuterRef("pk"), elapsed_seconds__isnull=False)
    first, last = points.order_by("step")[:1], points.order_by("-step")[:1]
    attempts = Attempt.objects.filter(job=OuterRef("pk"))
    jobs = Job.objects.filter(
        kinds, ~Exists(attempts.filter(n__gt=1)), completed_at__isnull=False, total_steps__gt=0,
        attempts__n=1, attempts__machine_seen_at__isnull=False, attempts__gone_at__isnull=False,
    )  # fmt: skip
    newest = jobs.annotate(
        place=Window(RowNumber(), [F("provider"), F("gpu_type")], F("completed_at").desc()),
    ).filter(place__lte=LEARN_FROM)
    return newest.values(
        "provider", "gpu_type", "gpu_count", "base_model", "hyperparameters", "total_steps", "status",
        rows=F("dataset__total_training_pairs"), mean_tokens=F("dataset__report__tokens__mean"),
        machine_time=F("attempts__gone_at") - F("attempts__machine_seen_at"),
        first_step=Subquery(first.values("step")), first_seconds=Subquery(first.values("elapsed_seconds")),
        last_step=Subquery(last.values("step")), last_seconds=Subquery(last.values("elapsed_seconds")),
    )  # fmt: skip


def _run(row: dict[str, Any]) -> Run | None:
    """None where it did too little to tell."""
    mean = row["mean_tokens"]
    task = Task(
        row["base_model"], row["hyperparameters"], row["rows"], mean if isinstance(mean, int | float) and mean else None
    )
    work = task.work(row["gpu_count"])
    steps = (row["last_step"] or 0) - (row["first_step"] or 0)
    if not work or steps <= 0 or (seconds := row["last_seconds"] - row["first_seconds"]) <= 0:
        return None
    lived = row["machine_time"].total_seconds()
    # No program trains for longer than its machine is there; a simulated one counts imagined seconds.
    real = min(1.0, lived / row["last_seconds"])
    pace = real * (seconds / steps) * row["total_steps"] / work
    ended = row["status"] == "completed"
    return Run(task, row["gpu_count"], pace, max(lived - real * row["last_seconds"], 0.0) if ended else None)
