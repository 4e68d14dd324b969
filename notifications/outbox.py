"""Deliveries: claimed by a lease, sent outside of any transaction, settled, and tried again until they arrive.

A delivery is stored in the transaction that stores its notification. Each destination has at most one on the way at a
time, the oldest first, so that one that is slow or down holds up no other. A worker that dies leaves a lease behind
that runs out: the message may arrive twice, with the same id, but it arrives.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Exists, F, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now

from datasets.nudge import nudge
from notifications import addresses, telling
from notifications.models import Delivery, Destination, Notification, Subscription, default_choice
from notifications.transports import transport
from notifications.transports.base import NotDelivered
from pipeline import clock, vault
from pipeline.live import hints

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
PAUSES = (10, 30, 120, 600, 3600, 3 * 3600, 6 * 3600)  # seconds before the next try; the last one again and again
GIVE_UP_AFTER = timedelta(days=3)
REST = 60  # seconds for which a failure keeps new messages from the same destination, at the most
OFF_AFTER = 5  # deliveries given up in a row
THREADS = 4
SECONDS = 20.0  # for which one call of `send_due` begins new deliveries; less than a task may take
SEND = "notifications.tasks.send_due"
MISTAKE = "Something went wrong in Stoker itself. The operator finds it in the log."
SWITCHED_OFF = "The destination was switched off."


@dataclass(frozen=True)
class Claim:
    delivery: Delivery
    token: UUID


def enqueue(notifications: Sequence[Notification]) -> int:
    """Store a delivery for each destination that wants a notification; return how many are to be sent.

    Where a destination was switched off for its failures, the delivery is stored as given up: it can be sent later.
    """
    rows = Destination.objects.filter(owner_id__in={one.owner_id for one in notifications})
    destinations = list(rows.filter(Q(enabled=True) | ~Q(problem="")))
    chosen = {
        (one.destination_id, one.type): one.wanted
        for one in Subscription.objects.filter(destination__in=destinations)
    }  # fmt: skip
    now = clock.now()
    made = [
        Delivery(
            notification=notification,
            destination=destination,
            since=now,
            next_try_at=now,
            state=Delivery.State.PENDING if destination.enabled else Delivery.State.DEAD,
            last_error="" if destination.enabled else SWITCHED_OFF,
        )
        for notification in notifications
        for destination in destinations
        if destination.owner_id == notification.owner_id
        and notification.metadata.get("destination") != str(destination.pk)  # its own end is told elsewhere
        and chosen.get((destination.pk, notification.type), default_choice(notification.type))
    ]
    Delivery.objects.bulk_create(made, ignore_conflicts=True)
    waiting = sum(one.state == Delivery.State.PENDING for one in made)
    if waiting:
        wake()
    return waiting


def wake(after: float | None = None) -> None:
    transaction.on_commit(lambda: nudge(SEND, countdown=after), robust=True)


def send_due(threads: int = THREADS, seconds: float = SECONDS) -> int:
    """Send what is due, side by side where several destinations wait; return how many were tried."""
    deadline = time.monotonic() + seconds
    tried: list[int] = []

    def work() -> None:
        while time.monotonic() < deadline and (claim := claim_next()):
            tried.append(1)
            send(claim)

    def helper() -> None:
        try:
            work()
        finally:
            connection.close()

    waiting = _ready().count()
    helpers = [threading.Thread(target=helper, daemon=True) for _ in range(min(threads, waiting) - 1)]
    for one in helpers:
        one.start()
    work()
    for one in helpers:
        one.join()
    return len(tried)


def claim_next() -> Claim | None:
    """Take the lease of the oldest due delivery of the destination that has waited longest; None: nothing is due."""
    with transaction.atomic():
        # The destination's row is locked while one of its deliveries is chosen, so that no two are on the way at once.
        ready = _ready().annotate(
            oldest=Subquery(_due(OuterRef("pk")).values("destination").annotate(at=Min("next_try_at")).values("at"))
        )
        destination = ready.order_by("oldest").select_for_update(skip_locked=True, no_key=True, of=("self",)).first()
        if destination is None or _on_the_way(destination.pk).exists():  # since the row was found, before it was locked
            return None
        return _take(_due(destination.pk))


def _take(deliveries: QuerySet[Delivery]) -> Claim | None:
    found = deliveries.select_related("destination", "notification__job").order_by("created_at", "pk").first()
    if found is None:
        return None
    token = uuid.uuid4()
    Delivery.objects.filter(pk=found.pk).update(
        state=Delivery.State.SENDING,
        lease_token=token,
        lease_until=Now() + LEASE,
        tries=F("tries") + 1,
        last_try_at=Now(),
    )
    found.tries += 1
    return Claim(found, token)


def send(claim: Claim) -> NotDelivered | None:
    """Send once and write down what came of it; return the failure, if it was one. Never raises for a failure."""
    delivery = claim.delivery
    try:
        address = addresses.opened(delivery.destination)
        status = transport(delivery.destination.kind).send(address, telling.message_of(delivery.notification))
    except NotDelivered as error:
        failure = error
    except vault.Unopenable as error:
        failure = NotDelivered(f"The stored address cannot be read. {error}")
    except Exception:  # one message that cannot be made holds up no other
        logger.exception("delivery %s: could not be sent", delivery.pk)
        failure = NotDelivered(MISTAKE)
    else:
        _arrived(claim, status)
        return None
    _failed(claim, failure)
    return failure


def _arrived(claim: Claim, status: int | None) -> None:
    with transaction.atomic():
        mine = _held(claim).update(
            state=Delivery.State.DELIVERED,
            delivered_at=Now(),
            response_status=status,
            last_error="",
            lease_token=None,
            lease_until=None,
        )
        if mine:
            works(claim.delivery.destination)


def _failed(claim: Claim, failure: NotDelivered) -> None:
    delivery = claim.delivery
    pause = max(PAUSES[min(delivery.tries, len(PAUSES)) - 1], failure.retry_after or 0)
    over = failure.permanent or clock.now() + timedelta(seconds=pause) > delivery.since + GIVE_UP_AFTER
    sentence = str(failure)[:300]
    with transaction.atomic():
        mine = _held(claim).update(
            state=Delivery.State.DEAD if over else Delivery.State.FAILED,
            next_try_at=Now() + timedelta(seconds=pause),
            response_status=failure.status,
            last_error=sentence,
            lease_token=None,
            lease_until=None,
        )
        if not mine:
            return
        rest = timedelta(seconds=max(min(pause, REST), failure.retry_after or 0))
        rows = Destination.objects.filter(pk=delivery.destination_id)
        rows.filter(enabled=True).update(
            problem=sentence,
            given_up=F("given_up") + int(over),
            rest_until=F("rest_until") if failure.permanent else Now() + rest,
        )
        now = rows.get()
        if failure.gone or now.given_up >= OFF_AFTER:
            switch_off(now, sentence)
        elif not now.enabled:  # its owner switched it off meanwhile
            drop_waiting(now)
        elif not over and pause < 60:
            wake(pause)


def works(destination: Destination) -> None:
    """A message arrived there: whatever was wrong is over."""
    rows = Destination.objects.filter(pk=destination.pk)
    rows.update(worked_at=Now(), given_up=0, rest_until=None)
    rows.filter(enabled=True).update(problem="")


def switch_off(destination: Destination, why: str) -> None:
    """Send nothing there any more, say so to its owner, and keep what waited, so that it can be sent by hand."""
    problem = f"Switched off, because nothing arrived there any more. {why}"[:300]
    if not Destination.objects.filter(pk=destination.pk, enabled=True).update(enabled=False, problem=problem):
        return
    drop_waiting(destination)
    told = telling.switched_off(destination, why)
    told.save()
    enqueue([told])
    transaction.on_commit(lambda: hints.publish_user(destination.owner_id), robust=True)


def drop_waiting(destination: Destination) -> None:
    """What still waits for a destination that is switched off is over; what is on the way decides for itself."""
    waiting = (Delivery.State.PENDING, Delivery.State.FAILED)
    Delivery.objects.filter(destination=destination, state__in=waiting).update(
        state=Delivery.State.DEAD, last_error=SWITCHED_OFF
    )


def _held(claim: Claim) -> QuerySet[Delivery]:
    """The delivery, unless its lease ran out and somebody else has taken it since."""
    return Delivery.objects.filter(pk=claim.delivery.pk, lease_token=claim.token)


def free() -> Q:
    """Deliveries that nobody is sending at this moment."""
    return Q(lease_until=None) | Q(lease_until__lt=Now())


def _due(destination: Any) -> QuerySet[Delivery]:
    due = Delivery.objects.filter(free(), state__in=Delivery.WAITING, next_try_at__lte=Now())
    return due.filter(destination=destination).order_by()


def _ready() -> QuerySet[Destination]:
    """Destinations that have something due, are not resting, and have nothing on the way."""
    rested = Q(rest_until=None) | Q(rest_until__lte=Now())
    pk = OuterRef("pk")
    return Destination.objects.filter(rested, Exists(_due(pk)), ~Exists(_on_the_way(pk)), enabled=True)


def _on_the_way(destination: Any) -> QuerySet[Delivery]:
    return Delivery.objects.filter(destination=destination, lease_until__gte=Now())
