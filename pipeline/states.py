"""The state machine as data: statuses, allowed moves, and why an attempt ended.

A status says where a job is; a stage (free of rules, for people) says what is being done inside it; an end reason says
why an attempt ended and is mapped here, once, to what follows from it. `pipeline.transitions.advance` is the only
writer of a job's status and refuses every move that is not in `TRANSITIONS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import TextChoices


class JobStatus(TextChoices):
    PENDING = "pending", "Saved"
    QUEUED = "queued", "Queued"
    INITIALIZING = "initializing", "Starting"
    RUNNING = "running", "Running"
    CANCELLING = "cancelling", "Cancelling"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


ACTIVE = frozenset({JobStatus.QUEUED, JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING})
TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})
ENDED_EARLY = frozenset({JobStatus.FAILED, JobStatus.CANCELLED})  # what can be tried again or gone on with

# from -> to. Back to `queued` means: a retryable cause ended the attempt and a new one will be made.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset({JobStatus.QUEUED}),
    JobStatus.QUEUED: frozenset({JobStatus.INITIALIZING, JobStatus.CANCELLING, JobStatus.FAILED}),
    JobStatus.INITIALIZING: frozenset(
        {JobStatus.RUNNING, JobStatus.QUEUED, JobStatus.CANCELLING, JobStatus.COMPLETED, JobStatus.FAILED}
    ),
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.CANCELLING, JobStatus.COMPLETED, JobStatus.FAILED}),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class AttemptState(TextChoices):
    """Where the rented machine of an attempt is. Only the last two let a job have another attempt."""

    INTENT = "intent", "About to be created"
    LIVE = "live", "Exists at the provider"
    GONE = "gone", "Gone, with evidence"
    NEVER_CREATED = "never_created", "Never existed"


ATTEMPT_CLOSED = frozenset({AttemptState.GONE, AttemptState.NEVER_CREATED})


class EndReason(TextChoices):
    COMPLETED = "completed", "Completed"
    CANCELLED_BY_USER = "cancelled_by_user", "Cancelled"
    BUDGET_EXCEEDED = "budget_exceeded", "Budget reached"
    DEADLINE_EXCEEDED = "deadline_exceeded", "Time limit reached"
    STOPPED_BY_RULE = "stopped_by_rule", "Stopped by a rule"
    NO_CAPACITY = "no_capacity", "No capacity"
    PREEMPTED = "preempted", "Preempted"
    VANISHED = "vanished", "Machine vanished"
    PROVIDER_ERROR = "provider_error", "Provider error"
    PROVIDER_AUTH = "provider_auth", "Provider refused the key"
    NO_FUNDS = "no_funds", "No funds"
    START_TIMEOUT = "start_timeout", "Did not start in time"
    HEARTBEAT_LOST = "heartbeat_lost", "Contact lost"
    OUT_OF_MEMORY = "out_of_memory", "Out of memory"
    INVALID_DATA = "invalid_data", "Invalid data"
    TRAINING_ERROR = "training_error", "Training error"


@dataclass(frozen=True)
class Consequence:
    """What follows when an attempt ends for a reason."""

    status: JobStatus  # the job's final status when it is not retried
    retryable: bool  # may the retry policy start a new attempt by itself
    who_acts: str  # "nobody", "user" or "operator"
    text: str  # what a person reads, with what to do


CONSEQUENCES: dict[EndReason, Consequence] = {
    EndReason.COMPLETED: Consequence(
        JobStatus.COMPLETED, False, "nobody", "Training finished and the adapter is stored."
    ),
    EndReason.CANCELLED_BY_USER: Consequence(
        JobStatus.CANCELLED, False, "nobody", "Cancelled on request. Nothing runs any more."
    ),
    EndReason.BUDGET_EXCEEDED: Consequence(
        JobStatus.CANCELLED, False, "user", "Stopped at its budget. Raise the budget and start again to go on."
    ),
    EndReason.DEADLINE_EXCEEDED: Consequence(
        JobStatus.CANCELLED,
        False,
        "user",
        "Stopped at its time limit. Raise the maximum duration or train fewer steps.",
    ),
    EndReason.STOPPED_BY_RULE: Consequence(
        JobStatus.CANCELLED,
        False,
        "user",
        "Stopped by a rule of the job. Mend the cause or change the rule, then start again to go on.",
    ),
    EndReason.NO_CAPACITY: Consequence(
        JobStatus.FAILED,
        True,
        "user",
        "The provider had no machine of this type. Try again later or choose another type.",
    ),
    EndReason.PREEMPTED: Consequence(
        JobStatus.FAILED, True, "nobody", "The provider took the machine away before training finished."
    ),
    EndReason.VANISHED: Consequence(
        JobStatus.FAILED, True, "nobody", "The machine is gone and the program did not report an end."
    ),
    EndReason.PROVIDER_ERROR: Consequence(
        JobStatus.FAILED, True, "operator", "The provider answered with an error. The events show what it said."
    ),
    EndReason.PROVIDER_AUTH: Consequence(
        JobStatus.FAILED, False, "user", "The provider refused the credential. Check the key and start the job again."
    ),
    EndReason.NO_FUNDS: Consequence(
        JobStatus.FAILED,
        False,
        "user",
        "The account at the provider has too little money for this machine. Add funds and start the job again.",
    ),
    EndReason.START_TIMEOUT: Consequence(
        JobStatus.FAILED, True, "operator", "The machine was there, but the training program did not call in time."
    ),
    EndReason.HEARTBEAT_LOST: Consequence(
        JobStatus.FAILED, True, "operator", "The training program fell silent, so its machine was stopped."
    ),
    EndReason.OUT_OF_MEMORY: Consequence(
        JobStatus.FAILED,
        False,
        "user",
        "The machine ran out of memory. Halve the batch size and double gradient accumulation, shorten max_length, "
        "or use 4-bit quantization.",
    ),
    EndReason.INVALID_DATA: Consequence(
        JobStatus.FAILED,
        False,
        "user",
        "The training program could not use the dataset. Mend the rows it names and upload again.",
    ),
    EndReason.TRAINING_ERROR: Consequence(
        JobStatus.FAILED, False, "user", "The training program ended with an error. The message and the log show where."
    ),
}

# Stop reasons that make a job `cancelling`: a person or a limit of theirs decided, not a fault.
STOPS_BY_DECISION = frozenset(
    {
        EndReason.CANCELLED_BY_USER,
        EndReason.BUDGET_EXCEEDED,
        EndReason.DEADLINE_EXCEEDED,
        EndReason.STOPPED_BY_RULE,
    }
)

STAGES: dict[str, str] = {
    # before and around the program: set by the server
    "saved": "Saved, not started",
    "waiting": "Waiting to be submitted",
    "waiting_for_slot": "Waiting for a free slot",
    "waiting_to_retry": "Waiting to try again",
    "submitting": "Asking for a machine",
    "provisioning": "Machine is starting",
    "create_unknown": "Unclear whether a machine exists",
    "contact_lost": "No word from the machine",
    "releasing": "Waiting until the machine is gone",
    "still_billed": "Stopping, still billed",
    # inside the program: the values of training.contract.Stage
    "preparing": "Loading data and model",
    "answering_before": "Answering held-out prompts with the base model",
    "training": "Training",
    "evaluating": "Evaluating",
    "answering_after": "Answering held-out prompts with the adapter",
    "saving": "Saving the adapter",
    "uploading": "Uploading the adapter",
    "stopping": "Stopping, saving a checkpoint",
    # after
    "ended": "Ended",
}
