"""The protocol every provider fulfils, and the words it speaks in.

A provider creates, observes and stops machines. It knows neither jobs nor the database: it gets a `CreateRequest`,
answers with `Machine`s and raises one of the errors below, which are cut by what the caller does next. All calls may
be repeated at any time: the name in the request is the machine's identity, chosen by us and committed before the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Protocol

from training.contract import Outcome


class MachineState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"  # nothing trains any more, but something is left (and perhaps billed): it must still be stopped
    GONE = "gone"  # evidence that nothing is left; `detail` says which evidence
    UNKNOWN = "unknown"  # the provider used a word we do not know: no conclusion may be drawn from it


@dataclass(frozen=True)
class Offer:
    """One kind of machine that can be asked for now. Prices are US dollars per hour for one unit of `type`."""

    provider: str
    type: str
    label: str
    price_per_hour: Decimal
    memory_gb: float | None = None
    available: int | None = None  # units free now, None when the provider does not tell
    max_count: int = 1
    cloud: str = ""
    note: str = ""


@dataclass(frozen=True)
class CreateRequest:
    name: str  # unique for ever, also the idempotency key
    gpu_type: str
    gpu_count: int
    cloud: str
    environment: Mapping[str, str]  # variables of training.contract, including the attempt's token
    max_seconds: int
    # What a provider that does not run our program needs to know (cluster, simulated).
    base_model: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    dataset_rows: int = 0
    dataset_url: str = ""
    callback_url: str = ""
    seed: int = 0


@dataclass(frozen=True)
class MachineRef:
    """How the caller names a machine it wants to know about or stop."""

    name: str
    external_id: str = ""  # empty when the answer to create was never seen
    after_step: int = 0  # report metric points after this step (providers that report instead of the program)


@dataclass(frozen=True)
class Report:
    """Progress told by the provider itself, where the program does not call the server."""

    points: Sequence[Mapping[str, Any]] = ()  # each {"step": int, "<name>": number}, ascending, after `after_step`
    total_steps: int | None = None
    total_epochs: float | None = None
    stage: str = ""
    logs: Sequence[str] = ()


@dataclass(frozen=True)
class Machine:
    """What the provider says about one machine, at the moment it was asked."""

    name: str
    external_id: str
    state: MachineState
    created_at: datetime | None = None
    price_per_hour: Decimal | None = None  # for the whole machine; None when the provider does not tell
    exit_code: int | None = None  # of the program, when the provider knows it
    outcome: Outcome | None = None  # only from providers that report instead of the program
    reason: str = ""  # an EndReason value when `outcome` is failed and the cause is known
    detail: str = ""  # one sentence for people: evidence, error text
    output_tail: str = ""  # the last lines the program printed, when it ended
    report: Report | None = None


class Provider(Protocol):
    """One account at one place where machines come from. Instances are cheap and hold no state between calls."""

    name: ClassVar[str]
    label: ClassVar[str]
    simulated: ClassVar[bool]  # nothing real happens; said wherever the job is shown
    runs_program: ClassVar[bool]  # our training program runs there and calls the server; else `Report`s carry progress
    stop_is_graceful: ClassVar[bool]  # the first `stop` lets the program save a checkpoint before it is ended by force
    poll_seconds: ClassVar[float]  # how often a live machine is looked at
    has_slots: ClassVar[bool]  # being full is a queue here, not a fault: `free_slots` tells how many more fit
    contact_seconds: ClassVar[int]  # how long after creation the program may take until its first call

    def offers(self) -> Sequence[Offer]:
        """What can be asked for now. Raises Unavailable."""

    def free_slots(self) -> int | None:
        """How many more machines can be created now; None where `has_slots` is False: only trying tells."""

    def create(self, request: CreateRequest) -> Machine:
        """Create the machine named `request.name`, or return the one that already bears that name.

        Raises NoCapacity, Refused, AuthError (surely nothing was created) or Unavailable (nobody knows).
        """

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        """Look at all `refs` with as few calls as possible; answer by name.

        A name missing from the answer was not seen in a look that worked. Raises Unavailable when the look failed:
        then nothing may be concluded about any of them.
        """

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        """Order the machine's end and return at once; call again until `observe` says GONE. A missing machine is fine.

        `force` skips the grace in which the program may save a checkpoint. Raises Unavailable.
        """

    def inventory(self) -> Sequence[Machine]:
        """Everything that bears this installation's prefix and is not GONE. Raises Unavailable."""


class ProviderError(Exception):
    """The message is a sentence for people. `status` and `request_id` are kept for the audit trail."""

    def __init__(
        self, message: str, *, status: int | None = None, request_id: str = "", retry_after: float | None = None
    ):
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class NoCapacity(ProviderError):
    """Surely not created, nothing wrong with the request: wait and try again."""


class Refused(ProviderError):
    """Surely not created, and the same request will be refused again."""


class AuthError(ProviderError):
    """Surely not created: the credential is missing, wrong or has no funds."""


class Unavailable(ProviderError):
    """No usable answer: timeout, broken connection, 5xx, nonsense. Nothing may be concluded from it."""
