"""What a provider's own bill says about machines that are gone, beside what was metered.

Bills come late, so each machine's is asked for again and again for two days. The bill changes no job: metered cost
stays what budgets count, and the difference is shown.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby

from django.db import transaction
from django.db.models import Count, F, Max, Min, Q, QuerySet, Sum
from django.utils import timezone

from pipeline import accounts
from pipeline.models import Attempt, CostRecord, EventType, Job, JobEvent
from pipeline.providers.base import AuthError, HasBill, ProviderError
from pipeline.providers.registry import provider_class, provider_names
from pipeline.states import AttemptState
from pipeline.texts import usd
from pipeline.transitions import record_event

logger = logging.getLogger(__name__)

FIRST_AFTER = timedelta(minutes=10)
OFTEN_UNTIL = timedelta(hours=6)
OFTEN = timedelta(hours=1)
SELDOM = timedelta(hours=6)
SETTLED_AFTER = timedelta(hours=48)
GIVEN_UP_AFTER = timedelta(days=14)  # without an answer
MOST = 200  # a round
TOLD_SHARE, TOLD_AMOUNT = Decimal("0.05"), Decimal("0.10")


@dataclass(frozen=True)
class Compared:
    """What a job's ended machines were metered and billed at. `drift` is None while nothing was billed."""

    metered: Decimal
    invoiced: Decimal | None
    drift: Decimal | None  # invoiced minus metered, of the machines that have an invoice
    settled: bool  # no more changes are expected


def check_due(now: datetime | None = None) -> int:
    """Ask for the bills that are due, account by account. Return how many answers there were."""
    now = now or timezone.now()
    due = _due(now).select_related("credential").order_by("provider", "credential_id", "gone_at")[:MOST]
    answers = 0
    for (name, _), attempts in groupby(due, key=lambda attempt: (attempt.provider, attempt.credential_id)):
        answers += _ask(name, list(attempts), now)
    return answers


def compared(job: Job) -> Compared:
    """For a job's page and API; one query."""
    sums = CostRecord.objects.filter(job=job).aggregate(
        metered=Sum("amount", filter=Q(kind=CostRecord.Kind.METERED)),
        invoiced=Sum("amount", filter=Q(kind=CostRecord.Kind.INVOICED)),
        of_invoiced=Sum("amount", filter=Q(kind=CostRecord.Kind.METERED, attempt__invoiced__isnull=False)),
        open=Count("attempt", filter=Q(attempt__invoice_settled=False)),
    )
    metered, invoiced = sums["metered"] or Decimal(0), sums["invoiced"]
    drift = None if invoiced is None else invoiced - (sums["of_invoiced"] or Decimal(0))
    return Compared(metered, invoiced, drift, invoiced is not None and not sums["open"])


def _due(now: datetime) -> QuerySet[Attempt]:
    billing = [name for name in provider_names() if issubclass(provider_class(name), HasBill)]
    checked = Q(invoice_checked_at=None)
    checked |= Q(gone_at__gt=now - OFTEN_UNTIL, invoice_checked_at__lte=now - OFTEN)
    checked |= Q(gone_at__lte=now - OFTEN_UNTIL, invoice_checked_at__lte=now - SELDOM)
    checked |= Q(gone_at__lte=now - SETTLED_AFTER, invoice_checked_at__lt=F("gone_at") + SETTLED_AFTER)
    return Attempt.objects.filter(
        checked, provider__in=billing, state=AttemptState.GONE, invoice_settled=False, gone_at__lte=now - FIRST_AFTER
    ).exclude(external_id="")


def _ask(name: str, attempts: list[Attempt], now: datetime) -> int:
    """Bills of one account. What cannot be asked for now is asked for at the next time it is due."""
    credential = attempts[0].credential
    try:
        if credential is None and provider_class(name).needs_account:
            raise AuthError("The account was removed.")
        provider = accounts.provider_with(name, credential)
    except ProviderError as error:
        logger.warning("bills of %s cannot be asked for: %s", name, error)
        _put_off(attempts, now)
        return 0
    assert isinstance(provider, HasBill)
    answers = 0
    for index, attempt in enumerate(attempts):
        try:
            billed = provider.billed(attempt.external_id, attempt.created_at)
        except AuthError as error:
            accounts.refused(credential, error)
            _put_off(attempts[index:], now)
            break
        except ProviderError as error:
            logger.warning("the bill of %s could not be read: %s", attempt.name, error)
            _put_off([attempt], now)
            continue
        _store(attempt, billed, now)
        answers += 1
    return answers


def _put_off(attempts: list[Attempt], now: datetime) -> None:
    these = Attempt.objects.filter(pk__in=[attempt.pk for attempt in attempts])
    these.update(invoice_checked_at=now)
    these.filter(gone_at__lte=now - GIVEN_UP_AFTER).update(invoice_settled=True)


def _store(attempt: Attempt, billed: Decimal | None, now: datetime) -> None:
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).filter(pk=attempt.job_id).first()
        if job is None:
            return  # deleted meanwhile, and its attempts with it
        attempt.refresh_from_db()
        assert attempt.gone_at is not None
        attempt.invoice_checked_at = now
        attempt.invoice_settled = now - attempt.gone_at >= SETTLED_AFTER
        if billed is not None:
            attempt.invoiced = max(billed, Decimal(0)).quantize(Decimal("0.000001"))
            metered = _record(job, attempt, attempt.invoiced)
            _tell(attempt, attempt.invoiced, metered)
        attempt.save(update_fields=["invoice_checked_at", "invoice_settled", "invoiced"])


def _record(job: Job, attempt: Attempt, invoiced: Decimal) -> Decimal:
    """Keep the one invoiced record of an attempt up to date; return what was metered for the same machine."""
    metered = attempt.cost_records.filter(kind=CostRecord.Kind.METERED).aggregate(
        amount=Sum("amount"), seconds=Sum("seconds"), start=Min("period_start"), end=Max("period_end")
    )
    start = metered["start"] or attempt.created_at
    CostRecord.objects.update_or_create(
        attempt=attempt,
        kind=CostRecord.Kind.INVOICED,
        defaults={
            "owner_id": job.owner_id,
            "provider": attempt.provider,
            "job": job,
            "period_start": start,
            "period_end": metered["end"] or max(start, attempt.gone_at or start),
            "seconds": metered["seconds"] or 0,
            "price_per_hour": attempt.price_per_hour,
            "amount": invoiced,
        },
    )
    return metered["amount"] or Decimal(0)


def _tell(attempt: Attempt, invoiced: Decimal, metered: Decimal) -> None:
    """Say once that the bill differs. Less than was metered means something only when the bill is complete."""
    drift = invoiced - metered
    if abs(drift) <= max(TOLD_AMOUNT, TOLD_SHARE * metered) or (drift < 0 and not attempt.invoice_settled):
        return
    told = JobEvent.objects.filter(
        job_id=attempt.job_id, kind=EventType.WARNING, attempt=attempt.n, data__what="invoice_drift"
    )
    if told.exists():
        return
    message = (
        f"The provider charged {usd(invoiced)} for this machine; {usd(metered)} were metered "
        f"({'+' if drift > 0 else '−'}{usd(abs(drift))})."
    )
    data = {"what": "invoice_drift", "invoiced": str(invoiced), "metered": str(metered), "drift": str(drift)}
    record_event(attempt.job_id, EventType.WARNING, message, level="warning", data=data, attempt=attempt.n)
