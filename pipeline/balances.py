"""What is left in prepaid accounts. A provider ends the machines of an empty account, and what they have not stored is
lost; so jobs are told before, save a checkpoint, and none starts that the account cannot carry for an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from pipeline import accounts
from pipeline.models import Attempt, Credential, EventType, Job, JobEvent
from pipeline.providers.base import AuthError, Balance, HasBalance, Provider, ProviderError
from pipeline.providers.registry import provider_class, provider_names
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_checkpoint
from pipeline.states import ATTEMPT_CLOSED, JobStatus
from pipeline.texts import usd
from pipeline.transitions import record_event

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)
FRESH = timedelta(seconds=60)
ENOUGH = timedelta(hours=1)  # at the present pace
LOW, ENOUGH_AGAIN = "low_balance", "enough_balance"
_OPEN = Q(attempts__gone_at=None) & ~Q(attempts__state__in=[state.value for state in ATTEMPT_CLOSED])


def check_due(now: datetime | None = None) -> int:
    """Ask for the balance of every account in which something runs. Return how many answered."""
    now = now or timezone.now()
    telling = [name for name in provider_names() if issubclass(provider_class(name), HasBalance)]
    # A little early, so that a task that runs every five minutes does not find each account due every ten.
    due = Q(balance_at=None) | Q(balance_at__lte=now - EVERY + timedelta(seconds=30))
    answers = 0
    for credential in Credential.objects.filter(_OPEN, due, provider__in=telling).distinct():
        balance = look(credential, now=now)
        if balance is not None:
            answers += 1
            _tell(credential, balance)
    return answers


def look(credential: Credential, provider: Provider | None = None, *, now: datetime | None = None) -> Balance | None:
    """Ask for the balance of one account and keep it. None: it cannot be told, from which nothing follows."""
    try:
        provider = provider or accounts.provider_with(credential.provider, credential)
        balance = provider.balance() if isinstance(provider, HasBalance) else None
    except ProviderError as error:
        logger.warning("the balance of account %s could not be read: %s", credential.pk, error)
        if isinstance(error, AuthError):
            accounts.refused(credential, error)
        return None
    if balance is not None:
        Credential.objects.filter(pk=credential.pk).update(
            balance=balance.amount, spend_per_hour=balance.spend_per_hour, balance_at=now or timezone.now()
        )
    return balance


def too_little_for(credential: Credential | None, provider: Provider, price_per_hour: Decimal) -> str:
    """Why the account cannot carry a machine of this price for an hour, as a sentence; empty when nothing is known."""
    if credential is None or price_per_hour <= 0 or not isinstance(provider, HasBalance):
        return ""
    known = credential.balance
    fresh = credential.balance_at is not None and timezone.now() - credential.balance_at < FRESH
    # What was known to be too little may have been paid in since.
    if known is None or not fresh or known < price_per_hour:
        balance = look(credential, provider)
        known = balance.amount if balance else None
    if known is None or known >= price_per_hour:
        return ""
    return (
        f"The account at {provider.label} has {usd(known)} left, and this machine costs {usd(price_per_hour)} an hour. "
        "Add funds for at least an hour and start the job again."
    )


def _tell(credential: Credential, balance: Balance) -> None:
    """Warn each live job once when the account will be empty within the hour, and say so when it is filled again."""
    jobs = list(Job.objects.active().filter(_OPEN, attempts__credential=credential).distinct().order_by("pk"))
    ours = Attempt.objects.filter(credential=credential, job__in=jobs, gone_at=None).aggregate(
        price=Sum("price_per_hour")
    )["price"]
    pace = max(balance.spend_per_hour, ours or Decimal(0))
    low = pace > 0 and balance.amount < pace * Decimal(ENOUGH / timedelta(hours=1))
    told = _last_told([job.pk for job in jobs])
    waiting = [job for job in jobs if (told.get(job.pk) == LOW) is not low]
    label = provider_class(credential.provider).label
    for number, job in enumerate(waiting):
        if low:
            minutes = max(0, int(balance.amount / pace * 60))
            message = (
                f"The account at {label} has {usd(balance.amount)} left: about {minutes} minutes at {usd(pace)} an "
                "hour. When it is empty, the provider ends its machines. A checkpoint is saved; add funds."
            )
        else:
            message = f"The account at {label} has enough money again: {usd(balance.amount)}."
        data = {"what": LOW if low else ENOUGH_AGAIN, "left": str(balance.amount), "per_hour": str(pace)}
        with transaction.atomic():
            # One of the account's jobs tells its owner; on the others the event is enough.
            record_event(
                job.pk, EventType.WARNING, message, level="warning" if low else "info",
                data=data | ({"tell": True} if low and number == 0 else {}),
            )  # fmt: skip
        if low and job.status == JobStatus.RUNNING:
            _save(job)


def _last_told(job_ids: Collection[UUID]) -> dict[UUID, str]:
    """Which of the two each job was told last."""
    events = JobEvent.objects.filter(job_id__in=job_ids, kind=EventType.WARNING, data__what__in=[LOW, ENOUGH_AGAIN])
    return {event.job_id: event.data["what"] for event in events.order_by("job_id", "seq")}


def _save(job: Job) -> None:
    try:
        request_checkpoint(job.pk, message="A checkpoint was asked for, because the account is nearly empty.")
    except Conflict as conflict:
        logger.info("job %s saves nothing: %s", job.pk, conflict)
