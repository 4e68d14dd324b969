"""Addresses of destinations at rest: sealed together with what signs messages to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models.functions import Now

from notifications.transports.base import Address
from pipeline import clock, vault

if TYPE_CHECKING:
    from notifications.models import Destination

OLD_SECRET_SIGNS = timedelta(hours=24)


def bound_to(destination: Destination) -> str:
    return f"notifications_destination:{destination.pk}:{destination.owner_id}"


def put(destination: Destination, where: str, secrets: Sequence[str] = ()) -> None:
    """Seal address and secrets, the newest first, into the row, which is not saved."""
    destination.sealed = vault.seal(json.dumps({"where": where, "secrets": list(secrets)}), bound_to(destination))


def opened(destination: Destination) -> Address:
    """The address in clear, with the secrets that sign now. Raise vault.Unopenable."""
    kept = json.loads(vault.unseal(bytes(destination.sealed), bound_to(destination)))
    secrets = tuple(kept["secrets"])
    until = destination.old_secret_until
    if len(secrets) > 1 and (until is None or until <= clock.now()):
        secrets = secrets[:1]
    return Address(kept["where"], secrets)


def change_secret(destination: Destination, new: str) -> None:
    """Sign with `new`, and for a day with the present secret, too, so that no message is refused meanwhile."""
    address = opened(destination)
    put(destination, address.where, [new, *address.secrets[:1]])
    destination.old_secret_until = Now() + OLD_SECRET_SIGNS
