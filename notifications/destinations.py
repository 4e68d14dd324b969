"""What people do with their destinations: add, change, test, choose events, send again."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from notifications import addresses, outbox, telling
from notifications.models import Delivery, Destination, Kind, Subscription, default_choice
from notifications.transports import transport
from notifications.transports.base import BadAddress, Checked, NotDelivered
from notifications.transports.webhook import new_secret
from pipeline import vault
from pipeline.services.errors import Conflict, FieldError, InvalidInput

MOST = 20  # destinations of one person
TEST_PAUSE = timedelta(seconds=3)


class Tested(NamedTuple):
    delivered: bool
    status: int | None
    message: str  # a sentence


def add(owner: User, *, kind: str, name: str, address: str) -> tuple[Destination, str]:
    """Keep a destination; return it with the secret that signs its messages, "" where none does.

    The secret is shown to its owner this once. Raise InvalidInput or Conflict.
    """
    checked = _checked(kind, address)
    with transaction.atomic():
        # The owner's row makes those wait who add another at the same time.
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        mine = Destination.objects.filter(owner_id=owner.pk)
        if mine.count() >= MOST:
            raise Conflict(f"You have {MOST} destinations, which is the most. Remove one first.", code="too_many")
        _name_is_free(mine, name)
        destination = Destination(owner_id=owner.pk, kind=kind, name=name, hint=checked.hint)
        secret = new_secret() if transport(kind).signs else ""
        addresses.put(destination, checked.where, [secret] if secret else [])
        destination.save()
    return destination, secret


def change(
    destination: Destination, *, name: str | None = None, address: str | None = None, enabled: bool | None = None
) -> Destination:
    """Change what is given. A new address, or switching it on, begins anew: whatever was wrong is forgotten."""
    checked = None if address is None else _checked(destination.kind, address)
    with transaction.atomic():
        row = Destination.objects.select_for_update().get(pk=destination.pk)
        if name is not None and name != row.name:
            _name_is_free(Destination.objects.filter(owner_id=row.owner_id).exclude(pk=row.pk), name)
            row.name = name
        if checked is not None:
            addresses.put(row, checked.where, _secrets(row))
            row.hint = checked.hint
        switched_on, switched_off = enabled is True and not row.enabled, enabled is False and row.enabled
        if checked is not None or switched_on or switched_off:
            row.problem, row.given_up, row.rest_until = "", 0, None
        if checked is not None:
            row.worked_at = None
        row.enabled = row.enabled if enabled is None else enabled
        row.save()
        if switched_off:
            outbox.drop_waiting(row)
        elif row.enabled:
            outbox.wake()
    return row


def change_secret(destination: Destination) -> str:
    """Sign with a new secret, which is returned this once; the present one signs, too, for another day."""
    if not transport(destination.kind).signs:
        raise Conflict("Only webhooks are signed.", code="not_signed")
    with transaction.atomic():
        row = Destination.objects.select_for_update().get(pk=destination.pk)
        secret = new_secret()
        try:
            addresses.change_secret(row, secret)
        except vault.Unopenable as error:
            raise Conflict(f"The stored address cannot be read. {error} Give the address anew first.") from error
        row.save(update_fields=["sealed", "old_secret_until", "updated_at"])
    return secret


def test(destination: Destination) -> Tested:
    """Send a test message now, whether the destination is switched on or not, and say what came of it."""
    free = Q(tested_at=None) | Q(tested_at__lt=Now() - TEST_PAUSE)
    if not Destination.objects.filter(free, pk=destination.pk).update(tested_at=Now()):
        raise Conflict("It was tested just now. Wait a few seconds, then test again.", code="too_soon")
    try:
        address = addresses.opened(destination)
        message = telling.test_message(destination, uuid.uuid4().hex)
        status = transport(destination.kind).send(address, message)
    except NotDelivered as error:
        Destination.objects.filter(pk=destination.pk, enabled=True).update(problem=str(error)[:300])
        return Tested(False, error.status, str(error))
    except vault.Unopenable as error:
        return Tested(False, None, f"The stored address cannot be read. {error} Give it anew.")
    outbox.works(destination)
    outbox.wake()
    return Tested(True, status, "The test message was taken.")


def matrix(owner: Any) -> list[tuple[Destination, dict[str, bool]]]:
    """For each destination of a person which kinds of events it is told of; two queries."""
    destinations = list(Destination.objects.for_user(owner).order_by("created_at", "pk"))
    chosen = {
        (one.destination_id, one.type): one.wanted
        for one in Subscription.objects.filter(destination__in=destinations)
    }  # fmt: skip
    return [
        (one, {kind: chosen.get((one.pk, kind), default_choice(kind)) for kind in Kind.values}) for one in destinations
    ]


def choose(owner: User, choices: Iterable[tuple[UUID, str, bool]]) -> None:
    """Keep these choices (destination, kind of event, wanted); all others stay, so that two pages undo nothing."""
    wishes = {(destination, kind): wanted for destination, kind, wanted in choices}
    mine = Destination.objects.for_user(owner).in_bulk({destination for destination, _ in wishes})
    if len(mine) < len({destination for destination, _ in wishes}):
        raise InvalidInput([FieldError("choices", "One of these destinations is not there any more.", "not_found")])
    Subscription.objects.bulk_create(
        [Subscription(destination_id=pk, type=kind, wanted=wanted) for (pk, kind), wanted in wishes.items()],
        update_conflicts=True,
        unique_fields=["destination", "type"],
        update_fields=["wanted"],
    )


def send_again(delivery: Delivery) -> Delivery:
    """Send it as soon as possible, whatever became of it before. Raise Conflict when it cannot be."""
    with transaction.atomic():
        destination = Destination.objects.select_for_update(no_key=True).get(pk=delivery.destination_id)
        row = Delivery.objects.select_for_update().get(pk=delivery.pk)
        if not destination.enabled:
            raise Conflict(f"“{destination.name}” is switched off. Switch it on, then send again.", code="switched_off")
        if row.state == Delivery.State.SENDING and not Delivery.objects.filter(outbox.free(), pk=row.pk).exists():
            raise Conflict("It is being sent at this moment.", code="being_sent")
        Delivery.objects.filter(pk=row.pk).update(
            state=Delivery.State.PENDING,
            tries=0,
            since=Now(),
            next_try_at=Now(),
            delivered_at=None,
            last_error="",
            response_status=None,
            lease_token=None,
            lease_until=None,
        )
        Destination.objects.filter(pk=destination.pk).update(rest_until=None)
        outbox.wake()
    row.refresh_from_db()
    return row


def _checked(kind: str, address: str) -> Checked:
    try:
        return transport(kind).check(address.strip())
    except BadAddress as error:
        raise InvalidInput([FieldError("address", str(error))]) from error


def _secrets(destination: Destination) -> list[str]:
    try:
        return list(addresses.opened(destination).secrets)
    except vault.Unopenable:  # the key is lost; what is signed from now on needs a new secret
        return [new_secret()] if transport(destination.kind).signs else []


def _name_is_free(others: Any, name: str) -> None:
    if others.filter(name=name).exists():
        raise InvalidInput([FieldError("name", f"You have a destination called “{name}” already.", "taken")])
