"""What the server and the training program say to each other. Standard library only: both sides import this file.

The program receives one `RunSpec` (a JSON document) and answers with numbered event lines. Every event line is
`{"n": 1, "t": 1700000000.0, "kind": "metric", "data": {...}}`; `n` starts at 1 and has no holes within an attempt, so
the server can say how far it has stored everything and the program knows what to send again.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

VERSION = 1

# Environment of the program. Nothing else is passed: user values travel in the spec, never in a command line.
ENV_JOB_ID = "JOB_ID"
ENV_JOB_TOKEN = "JOB_TOKEN"  # noqa: S105 - the name of the variable
ENV_METRICS_API_URL = "METRICS_API_URL"
ENV_WORK_DIR = "STOKER_WORK_DIR"  # where the spool, checkpoints and adapter are written
ENV_MODELS_DIR = "STOKER_MODELS_DIR"  # optional: <dir>/<org>/<name> is used instead of the Hugging Face Hub

# What a rented machine is told besides (training/pod.py).
ENV_MAX_SECONDS = "STOKER_MAX_SECONDS"  # no machine trains longer, whatever happens
ENV_POD_API_URL = "STOKER_POD_API_URL"  # where it can order its own end
ENV_GPU_COUNT = "STOKER_GPU_COUNT"  # how many were asked for
# To whom it belongs, beside its name: people can rename machines.
ENV_INSTALLATION = "STOKER_INSTALLATION"
ENV_ATTEMPT = "STOKER_ATTEMPT"

# In the work folder: until when the program may run, in Unix seconds. Limits may be raised while it runs; whoever ends
# programs from outside that keep no limit looks here first.
UNTIL_FILE = "until"

HEARTBEAT_SECONDS = 15
MAX_BATCH_EVENTS = 500
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_LOG_TEXT = 8_000

# `Finish.reason` of a run that was stopped by SIGTERM and not by the server: its machine was taken away.
STOP_BY_SIGNAL = "preempted"


class EventKind(StrEnum):
    METRIC = "metric"  # data: {"step": int, "<name>": number, ...}
    LOG = "log"  # data: {"text": str, "stream": "stdout" | "stderr" | "program"}
    STAGE = "stage"  # data: {"stage": Stage, "detail": str}
    HEARTBEAT = "heartbeat"  # data: {"gpu_utilization": ..., ...}, may be empty
    # data: {"total_steps", "total_epochs", "trainable_parameters", "total_parameters", "train_rows", "eval_rows"}
    PLAN = "plan"
    CHECKPOINT = "checkpoint"  # data: {"step": int, "metrics": {...}}
    # data: Sample as a dict; sent twice, first without the adapter's answer: an index again replaces the earlier one
    SAMPLE = "sample"


class Stage(StrEnum):
    """What a running job is doing; the server adds its own stages before and after these."""

    PREPARING = "preparing"  # libraries, data and model are being loaded
    ANSWERING_BEFORE = "answering_before"  # held-out prompts with the adapter off
    TRAINING = "training"
    EVALUATING = "evaluating"
    ANSWERING_AFTER = "answering_after"  # held-out prompts with the adapter on
    SAVING = "saving"
    UPLOADING = "uploading"
    STOPPING = "stopping"  # a stop request was received, a checkpoint is being written


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"  # obeyed a stop request or SIGTERM, a checkpoint was saved if a step was done


class FailureReason(StrEnum):
    """Why a run failed, as far as the program can tell. A subset of the server's end reasons."""

    OUT_OF_MEMORY = "out_of_memory"
    INVALID_DATA = "invalid_data"
    TRAINING_ERROR = "training_error"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SERVER_SILENT = "heartbeat_lost"  # the server did not answer for `limits.silence_seconds`


class ExitCode(IntEnum):
    COMPLETED = 0
    TRAINING_ERROR = 1
    BAD_ENVIRONMENT = 2  # a variable or the spec is missing or unreadable
    INVALID_DATA = 10
    OUT_OF_MEMORY = 11
    DEADLINE_EXCEEDED = 12
    SERVER_SILENT = 13
    STOPPED = 75
    REFUSED = 77  # the server said 401, 404 or 410: this attempt is over


@dataclass(frozen=True)
class DataLink:
    """A signed link to a dataset file (JSONL, UTF-8)."""

    url: str
    sha256: str
    format: str  # a training.records.RecordFormat value
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class ResumePoint:
    url: str
    sha256: str
    step: int


@dataclass(frozen=True)
class Limits:
    max_seconds: int  # wall clock from program start
    silence_seconds: int = 1200  # end when the server has not answered for this long
    heartbeat_seconds: int = HEARTBEAT_SECONDS


@dataclass(frozen=True)
class RunSpec:
    """All the program needs, as one JSON document. Hyperparameter names are those of PEFT and Transformers."""

    job_id: str
    attempt: int
    name: str
    base_model: str
    dataset: DataLink
    hyperparameters: dict[str, Any]
    limits: Limits
    eval_dataset: DataLink | None = None
    resume: ResumePoint | None = None
    push_to_hub: str | None = None
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RunSpec:
        """Raise ValueError with a sentence when the document is not a spec of this version."""
        if not isinstance(document, dict) or document.get("version") != VERSION:
            raise ValueError(
                f"This program reads run specs of version {VERSION}; the server sent "
                f"{document.get('version') if isinstance(document, dict) else type(document).__name__}."
            )
        known = {f.name for f in dataclasses.fields(cls)}
        try:
            values = {key: value for key, value in document.items() if key in known}
            values["dataset"] = DataLink(**values["dataset"])
            values["limits"] = Limits(**values["limits"])
            if values.get("eval_dataset"):
                values["eval_dataset"] = DataLink(**values["eval_dataset"])
            if values.get("resume"):
                values["resume"] = ResumePoint(**values["resume"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"The run spec is not complete: {error}") from error


@dataclass(frozen=True)
class Sample:
    """One held-out prompt answered by the base model and by the adapter.

    `valid_*` is None unless the expected answer is a JSON object or list. What belongs to an answer that does not exist
    (yet) is None.
    """

    index: int
    prompt: list[dict[str, str]]  # chat messages before the answer
    expected: str
    before: str | None = None
    after: str | None = None
    valid_before: bool | None = None
    valid_after: bool | None = None
    exact_before: bool | None = None
    exact_after: bool | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Stop:
    """Answered to `metrics` and `events` when the run must end; the program saves a checkpoint first."""

    reason: str
    grace_seconds: int = 60


@dataclass(frozen=True)
class Finish:
    """The last word of an attempt. By `last_n` the server checks that nothing is missing before it believes the rest.

    `reason` is empty when completed, a FailureReason when failed, and when stopped the reason of the server's stop
    request or STOP_BY_SIGNAL. `extra` of a completed run holds `artifact_id` and `step`, and after a push to the Hub
    `hub_url` or `hub_error`.
    """

    outcome: Outcome
    last_n: int
    reason: str = ""
    message: str = ""
    stack: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
