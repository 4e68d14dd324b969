"""What a transport is: it checks an address that a person gives, and takes one message there, once.

Trying again, leases and the log belong to `notifications.outbox`. A transport is one file and one line in the registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Message:
    """What is told, the same for every try and every destination."""

    id: str  # the same each time it is sent, so that receivers can tell a repeated message
    type: str
    priority: str
    title: str
    text: str
    url: str  # where to look, absolute; "" when that is gone
    settings_url: str  # where the person chooses what they are told
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Address:
    """Where to, in clear. `secrets` sign the message, the newest first."""

    where: str
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """An address as it is kept, and what of it may be shown."""

    where: str
    hint: str


class BadAddress(ValueError):
    """The address cannot be used. The message is a sentence for the person who typed it."""


class NotDelivered(Exception):
    """The message did not arrive, as far as is known. The text is a sentence for the owner, without the address.

    `permanent`: trying again leads to the same. `gone`: the receiver wants no more messages. `retry_after`: seconds for
    which it asked to be left alone.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int | None = None,
        permanent: bool = False,
        gone: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.retry_after = status, retry_after
        self.permanent, self.gone = permanent or gone, gone


class Transport(Protocol):
    signs: ClassVar[bool]  # whether its addresses come with a secret of ours

    def check(self, where: str) -> Checked:
        """The address in the form that is kept. Raise BadAddress."""

    def send(self, address: Address, message: Message) -> int | None:
        """Take the message there; return the HTTP status of the answer where there is one. Raise NotDelivered."""
