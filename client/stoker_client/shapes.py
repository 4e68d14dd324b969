"""What the server tells, as frozen records. Each keeps all that was said in `data`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Self, TypedDict

ENDED = frozenset({"completed", "failed", "cancelled"})
CHECKED = frozenset({"ready", "rejected"})


class NewJob(TypedDict, total=False):
    """What POST /api/jobs/ takes; `name`, `dataset` and `base_model` are needed. See the server's /api/docs/."""

    name: str
    dataset: str
    eval_dataset: str | None
    base_model: str
    preset: str | None
    hyperparameters: Mapping[str, Any]
    gpu_config: Mapping[str, Any]
    budget_limit: float | str | None
    max_duration: int
    priority: int
    retry_policy: Mapping[str, Any]
    resume_from: str | None
    rules: list[Mapping[str, Any]]
    start: bool


@dataclass(frozen=True)
class Record:
    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Fields that the server left out get their defaults."""
        known = {one.name: data[one.name] for one in fields(cls) if one.name in data and one.name != "data"}
        missing = {
            one.name: None
            for one in fields(cls)
            if one.name not in data and one.default is MISSING and one.default_factory is MISSING
        }
        return cls(**missing | known | {"data": dict(data)})


@dataclass(frozen=True)
class Dataset(Record):
    id: str
    name: str
    status: str
    training_ready: bool
    error: str
    row_count: int | None
    size_bytes: int | None
    sha256: str
    created_at: str
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_checked(self) -> bool:
        return self.status in CHECKED


@dataclass(frozen=True)
class Job(Record):
    id: str
    name: str
    status: str
    status_label: str
    stage_label: str
    provider: str
    gpu_type: str
    base_model: str
    progress: float
    current_step: int
    total_steps: int | None
    current_metrics: dict[str, Any]
    current_cost: float | None
    estimated_cost: float | None
    final_cost: float | None
    eta_seconds: float | None
    reason_text: str
    error_message: str
    artifact_id: str | None
    event_seq: int
    created_at: str
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True)
class Event(Record):
    seq: int
    kind: str
    level: str
    message: str
    at: str
    attempt: int | None = None
    data: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class LogLine(Record):
    attempt: int
    n: int
    at: str
    stream: str
    text: str
    data: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Artifact(Record):
    id: str
    kind: str
    state: str
    name: str
    step: int
    size_bytes: int
    sha256: str
    download_url: str | None
    data: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Estimate(Record):
    """`problem` says why the job could not start now; blank: it could."""

    hours: str | None
    total: str | None
    confidence: str
    basis: str
    price_per_hour: str
    holds: str | None
    problem: str
    data: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Series:
    """The curves of a job. `seq` is the number up to which they are complete: follow the job after it."""

    seq: int
    curves: dict[str, tuple[list[int], list[float | None]]]  # steps and values by metric


@dataclass(frozen=True)
class Frame:
    """What is new about a job since the frame before."""

    seq: int
    job: Job
    metrics: dict[str, list[Any]]  # columns; "step" is one of them
    events: list[Event]
    logs: list[LogLine]
