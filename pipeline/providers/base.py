"""The protocol every provider fulfils, and the words it speaks in.

A provider creates, observes and stops machines. It knows neither jobs nor the database: it gets an `Account` and a
`CreateRequest`, answers with `Machine`s and raises one of the errors below, which are cut by what the caller does next.
All calls may be repeated at any time: the name in the request is the machine's identity, chosen by us and committed
before the call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from training.contract import Outcome


class MachineState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"  # nothing trains any more, but something is left (and perhaps billed): it must still be stopped
    GONE = "gone"  # evidence that nothing is left; `detail` says which evidence
    UNKNOWN = "unknown"  # the provider used a word we do not know: no conclusion may be drawn from it


@dataclass(frozen=True)
class Account:
    """What opens one account at a provider. The secret is in no `repr`, so that no log line can hold it."""

    id: str  # ours, stable: tells accounts apart
    secret: str = field(repr=False)
    base_url: str = ""  # empty: the provider's own address
    options: Mapping[str, Any] = field(default_factory=dict)  # what else the provider's `account_options` name


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
    stock: str = ""  # "none", "low", "medium", "high", or empty where the provider does not tell


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
    # Further (gpu_type, cloud) to try, in this order, when there is surely no machine of the one before.
    fallbacks: Sequence[tuple[str, str]] = ()
    max_price_per_hour: Decimal | None = None  # of the whole machine; dearer ones are passed over


@dataclass(frozen=True)
class MachineRef:
    """How the caller names a machine it wants to know about or stop."""

    name: str
    external_id: str = ""  # empty when the answer to create was never seen
    after_step: int = 0  # report metric points after this step (providers that report instead of the program)
    # It was seen to run and has said its last word or been told to end, or the provider said yes to an earlier `stop`:
    # that it is missing now is evidence of its end.
    end_expected: bool = False
    id_only: bool = False  # `stop` ends the machine of this external id, and never another of the same name


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
    gpu_type: str = ""  # what was really given; empty when the provider does not tell
    cloud: str = ""


class Provider(Protocol):
    """One account at one place where machines come from. Instances are cheap and hold no state between calls."""

    name: ClassVar[str]
    label: ClassVar[str]
    simulated: ClassVar[bool]  # nothing real happens; said wherever the job is shown
    runs_program: ClassVar[bool]  # our training program runs there and calls the server; else `Report`s carry progress
    stop_is_graceful: ClassVar[bool]  # the first `stop` lets the program save a checkpoint before it is ended by force
    poll_seconds: ClassVar[float]  # how often a live machine is looked at
    has_slots: ClassVar[bool]  # being full is a queue here, not a fault: `free_slots` tells how many more fit
    provision_seconds: ClassVar[int]  # how long after creation a machine may take until it is `RUNNING`
    contact_seconds: ClassVar[int]  # how long after it was seen running the program may take until its first call
    needs_account: ClassVar[bool]  # a person's credential opens it; otherwise there is one account, the installation's
    # Machines can be found by their name and listed. Where not, a create whose answer was lost stays unknown until the
    # same request is repeated (`create_is_idempotent`) or an operator says what became of it.
    finds_by_name: ClassVar[bool]
    # Others can read a machine's environment (a console, a list call): it gets a token for one exchange only.
    environment_is_public: ClassVar[bool]

    def __init__(self, account: Account | None = None) -> None:
        """`account` is None exactly where `needs_account` is False."""

    @property
    def create_is_idempotent(self) -> bool:
        """A second `create` with the same name surely makes no second machine, whatever became of the first."""

    def offers(self) -> Sequence[Offer]:
        """What can be asked for now. Raises Unavailable."""

    def free_slots(self) -> int | None:
        """How many more machines can be created now; None where `has_slots` is False: only trying tells."""

    def create(self, request: CreateRequest) -> Machine:
        """Create the machine named `request.name`, or return the one that already bears that name.

        Raises NoCapacity, Refused, AuthError, NoFunds (surely nothing was created) or Unavailable (nobody knows).
        """

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        """Look at all `refs` with as few calls as possible; answer by name.

        A name missing from the answer was not seen in a look that worked. Raises Unavailable when the look failed:
        then nothing may be concluded about any of them.
        """

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        """Order the machine's end and return at once; call again until `observe` says GONE. A missing machine is fine.

        `force` skips the grace in which the program may save a checkpoint. Raises Unavailable, also when a known
        machine is not found in a place that shows new ones late: returning means that the provider said yes.
        """

    def inventory(self) -> Sequence[Machine]:
        """Everything that bears this installation's prefix and is not GONE, two of one name both. Raises Unavailable.

        Empty where `finds_by_name` is False: there nothing can be listed.
        """


class YesOrNo(str):
    """What an account's option means that is either on or off; any other option is a text."""


@runtime_checkable
class ChecksAccount(Protocol):
    """A provider with accounts can say whether a credential opens one, before anything is asked for."""

    # Names of `Account.options` this provider understands, with what they mean to people.
    account_options: ClassVar[Mapping[str, str]]
    takes_base_url: ClassVar[bool]  # the account is at an address of its own

    def check_account(self) -> str:
        """A short name of the account for people ("" when it has none). Raises AuthError or Unavailable."""


@dataclass(frozen=True)
class Balance:
    amount: Decimal  # US dollars left
    spend_per_hour: Decimal  # by everything that runs in the account now


@runtime_checkable
class HasBalance(Protocol):
    def balance(self) -> Balance | None:
        """What is left in a prepaid account; None when it cannot be told. Raises Unavailable, AuthError."""


@runtime_checkable
class HasBill(Protocol):
    def billed(self, external_id: str, since: datetime) -> Decimal | None:
        """What the provider has charged for one machine so far, in US dollars; None while it lists no charge.

        Raises Unavailable, AuthError.
        """


@runtime_checkable
class TakesCallbacks(Protocol):
    """A provider whose machines may call `CreateRequest.callback_url`. What they say is a hint, never evidence."""

    @staticmethod
    def report_of(body: Mapping[str, Any], after_step: int) -> Report:
        """The progress in the JSON object that was sent; points after `after_step` only."""

    @staticmethod
    def called_id(body: Mapping[str, Any]) -> str:
        """The machine's external id as the object names it, "" when it names none."""


@runtime_checkable
class TakesFallbacks(Protocol):
    """A provider whose `create` goes on to `CreateRequest.fallbacks` when there is surely no machine of the first."""

    takes_fallbacks: ClassVar[bool]


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
    """Surely not created: the credential is missing, wrong or revoked."""


class NoFunds(ProviderError):
    """Surely not created: the account has not enough money left."""


class Unavailable(ProviderError):
    """No usable answer: timeout, broken connection, 5xx, nonsense. Nothing may be concluded from it."""


class NotSent(Unavailable):
    """No connection came about, or the call was turned away unread: a `create` surely asked for nothing.

    It may be made again, after `retry_after` seconds where the provider names a time.
    """
