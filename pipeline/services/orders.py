"""Ending a machine that no attempt looks after: ordered by the sweep or by a person, written down before it is made.

An order names the machine by the provider's own id, so that another one of the same name is never hit. The sweep
repeats it until the machine is gone.
"""

from __future__ import annotations

import logging
from decimal import Decimal

from celery.exceptions import SoftTimeLimitExceeded
from django.db import transaction
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from pipeline import accounts
from pipeline.models import AccountLook, CallOutcome, EventType, Job, MachineSighting, ProviderCall
from pipeline.providers.base import MachineRef, Provider, ProviderError
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel
from pipeline.services.machines import cost_of
from pipeline.transitions import record_event

logger = logging.getLogger(__name__)

Verdict = MachineSighting.Verdict


def end_machine(sighting: MachineSighting, *, actor: str) -> str:
    """Order a machine's end for an operator: through its job where it has one. Return a sentence of what was done.

    Raise Conflict when there is nothing to end, ProviderError when the order did not get through (it is repeated).
    """
    if sighting.gone_at is not None:
        raise Conflict(f"{sighting.external_id} is gone already.", code="gone")
    if sighting.verdict == Verdict.OWNED and sighting.attempt is not None:
        job = sighting.attempt.job
        ordered = request_cancel(job.pk, actor=actor)
        return f"“{job.name}” is being cancelled." if ordered else f"“{job.name}” was being cancelled already."
    provider = accounts.provider_with(sighting.provider, sighting.credential)
    problem = order_end(provider, sighting, actor=actor)
    if problem:
        return f"The end of {sighting.external_id} is ordered, but not yet accepted: {problem} It is ordered again."
    return f"{sighting.external_id} was told to end. It stays here until it is gone."


def confirm(look: AccountLook, *, actor: str) -> list[str]:
    """End what was held back at an account. Return a sentence for each machine."""
    held = MachineSighting.objects.filter(
        provider=look.provider, credential=look.credential, gone_at=None, held_back=True
    )
    said = [end_machine(one, actor=actor) for one in held.select_related("attempt__job", "credential").order_by("pk")]
    AccountLook.objects.filter(pk=look.pk).update(held_back="")
    return said


def order_end(provider: Provider, sighting: MachineSighting, *, actor: str = "") -> str:
    """Order a machine's end once, and tell its job the first time. Return what went wrong, "" when nothing did."""
    with transaction.atomic():
        row = MachineSighting.objects.select_for_update(of=("self",)).get(pk=sighting.pk)
        if row.gone_at is not None:
            return ""
        call = ProviderCall.objects.create(sighting=row, op="stop", actor=actor)
        MachineSighting.objects.filter(pk=row.pk).update(stop_sent_at=Coalesce("stop_sent_at", Now()), held_back=False)
        if row.stop_sent_at is None:
            _tell_it_is_ended(sighting, actor)
    problem = ""
    try:
        provider.stop(MachineRef(sighting.name, sighting.external_id, id_only=True), force=True)
        call.outcome = CallOutcome.OK
    except SoftTimeLimitExceeded:
        raise  # the task is to end; the order stands in our rows and is made again
    except Exception as error:  # noqa: BLE001 - whatever it is, the order is made again and the others are not held up
        problem = str(error) or type(error).__name__
        logger.error("machine %s at %s: the order to end failed: %s", sighting.external_id, sighting.provider, problem)
        call.outcome, call.detail = CallOutcome.UNKNOWN, problem
        if isinstance(error, ProviderError):
            call.http_status, call.request_id = error.status, error.request_id
    call.ended_at = Now()
    call.save(update_fields=["outcome", "detail", "http_status", "request_id", "ended_at"])
    MachineSighting.objects.filter(pk=sighting.pk).update(stop_problem=problem[:300])
    return problem


def tell_it_is_gone(sighting: MachineSighting) -> None:
    """Say on its job's page that a forgotten machine is gone, and what it cost. Call inside a transaction."""
    if sighting.stop_sent_at is None:
        return
    cost = _shown(cost_of(sighting, timezone.now()))
    logger.warning("machine %s at %s is gone. Cost: %s", sighting.external_id, sighting.provider, cost)
    _tell(sighting, f"The machine {sighting.external_id} that was left over is gone. Cost: {cost}.", "info")


def _tell_it_is_ended(sighting: MachineSighting, actor: str) -> None:
    cost = _shown(cost_of(sighting, timezone.now()))
    attempt = sighting.attempt
    if attempt is None:
        what = f"A machine that belongs to no attempt ({sighting.name}) is being ended"
    elif attempt.is_open:
        what = f"A second machine bore the name of attempt {attempt.n}; it is being ended"
    else:
        what = f"A machine of attempt {attempt.n} was still there after its end; it is being ended"
    logger.warning("%s at %s: %s. Cost so far: %s", sighting.external_id, sighting.provider, what, cost)
    _tell(sighting, f"{what}. Cost so far: {cost}. Machine: {sighting.external_id}.", "warning", actor)


def _tell(sighting: MachineSighting, message: str, level: str, actor: str = "") -> None:
    attempt = sighting.attempt
    if attempt is None or not Job.objects.filter(pk=attempt.job_id).exists():
        return
    data = {"what": "forgotten_machine", "external_id": sighting.external_id}
    record_event(attempt.job_id, EventType.WARNING, message, level=level, data=data, attempt=attempt.n, actor=actor)


def _shown(cost: Decimal | None) -> str:
    if cost is None:
        return "not known"
    return f"about ${cost:.2f}" if cost >= Decimal("0.01") else "less than $0.01"
