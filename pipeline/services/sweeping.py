"""The sweep: look at everything that runs at an account, and end what nobody waits for.

The provider is listed first and the database read second, so that a machine whose attempt was committed before it was
asked for is never missed. A list that failed concludes nothing. `pipeline.ownership` says whose a machine is.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from pipeline import accounts
from pipeline.decide import ABSENCE
from pipeline.models import AccountLook, Attempt, Credential, MachineSighting
from pipeline.ownership import Known, Whose, is_name_we_give, whose, why_hold_back
from pipeline.providers.base import AuthError, Machine, ProviderError
from pipeline.providers.registry import UnknownProvider, provider_class, provider_names
from pipeline.services.orders import order_end, tell_it_is_gone
from pipeline.states import ATTEMPT_CLOSED, AttemptState

logger = logging.getLogger(__name__)

EVERY = timedelta(seconds=50)  # an account is looked at again after this long; beat asks each minute
CLAIM = timedelta(seconds=60)
CYCLE_SECONDS = 30.0  # no account is begun later in a cycle: the next one begins with those that waited longest
ORDERS = 50  # of one look; the rest waits for the next

Verdict = MachineSighting.Verdict
_CLOSED = [state.value for state in ATTEMPT_CLOSED]


@dataclass(frozen=True)
class Finding:
    """One machine of a list and whose it is."""

    machine: Machine
    attempt: Attempt | None
    whose: Whose
    sighting: MachineSighting | None  # as it was before this look
    held_back: bool = False

    @property
    def external_id(self) -> str:
        return self.machine.external_id or self.machine.name

    @property
    def fresh(self) -> bool:
        """Forgotten, and nobody has ordered its end yet."""
        return self.whose.forgotten and not (self.sighting and self.sighting.stop_sent_at)


@dataclass
class Outcome:
    """What came of one look at an account."""

    look: AccountLook
    findings: list[Finding] = field(default_factory=list)
    held_back: str = ""  # why nothing was ended
    problem: str = ""  # why the look did not work
    ordered: list[MachineSighting] = field(default_factory=list)


def sweep_due(every: timedelta = EVERY) -> int:
    """Look at every account that was not looked at for `every`, the longest ago first. Return how many were."""
    began, count = time.monotonic(), 0
    due = known_looks().filter(Q(tried_at=None) | Q(tried_at__lte=Now() - every))
    for look in due.order_by(F("tried_at").asc(nulls_first=True)):
        if time.monotonic() - began > CYCLE_SECONDS:
            break
        count += sweep(look, every=every) is not None
    return count


def known_looks() -> QuerySet[AccountLook]:
    """One row for each account whose machines can be listed; those that are new get theirs."""
    listed = [name for name in provider_names() if provider_class(name).finds_by_name]
    shared = [name for name in listed if not provider_class(name).needs_account]
    rows = AccountLook.objects.filter(provider__in=listed).select_related("credential__owner")
    known = set(rows.values_list("provider", "credential_id"))
    wanted: list[tuple[str, UUID | None]] = [(name, None) for name in shared]
    wanted += Credential.objects.filter(provider__in=set(listed) - set(shared)).values_list("provider", "pk")
    missing = [AccountLook(provider=name, credential_id=pk) for name, pk in wanted if (name, pk) not in known]
    if missing:
        AccountLook.objects.bulk_create(missing, ignore_conflicts=True)
    return rows


def sweep(look: AccountLook, *, every: timedelta = timedelta(0), dry_run: bool = False) -> Outcome | None:
    """Look at one account and end what is forgotten there. None: somebody else is looking, or just did.

    With `dry_run` nothing is written and nothing is ended.
    """
    outcome = Outcome(look)
    token = None if dry_run else _claim(look, every)
    if token is None and not dry_run:
        return None
    looked_at = _database_now()
    try:
        provider = accounts.provider_with(look.provider, look.credential)
        machines = provider.inventory()
    except SoftTimeLimitExceeded:
        raise  # the task is to end; the claim runs out by itself
    except Exception as error:  # noqa: BLE001 - whatever it is, nothing is known, and the other accounts are not held up
        outcome.problem = _why(error)
        if token is not None:
            _did_not_work(look, token, error, outcome.problem)
        return outcome
    if token is None:
        outcome.findings, outcome.held_back = _find(look, machines, looked_at)
        return outcome
    accounts.works(look.credential)
    if not _take_in(look, token, machines, looked_at, outcome):
        return None
    for sighting in outcome.ordered:
        order_end(provider, sighting)
    AccountLook.objects.filter(pk=look.pk, claim_token=token).update(claim_token=None, claimed_until=None)
    return outcome


def _claim(look: AccountLook, every: timedelta) -> UUID | None:
    token = uuid.uuid4()
    free = Q(claimed_until=None) | Q(claimed_until__lt=Now())
    due = Q(tried_at=None) | Q(tried_at__lte=Now() - every)
    taken = AccountLook.objects.filter(free, due, pk=look.pk).update(
        claim_token=token, claimed_until=Now() + CLAIM, tried_at=Now()
    )
    return token if taken else None


def _why(error: Exception) -> str:
    if isinstance(error, (ProviderError, UnknownProvider)):
        return str(error)[:300]
    logger.error("the list of an account could not be read", exc_info=error)
    return f"The list of machines could not be read ({type(error).__name__}); the log says more."


def _did_not_work(look: AccountLook, token: UUID, error: Exception, problem: str) -> None:
    logger.error("No look at the machines at %s: %s Nothing is concluded from that.", look, problem)
    if isinstance(error, AuthError):
        accounts.refused(look.credential, error)
    AccountLook.objects.filter(pk=look.pk, claim_token=token).update(
        problem=problem, claim_token=None, claimed_until=None
    )


def _find(look: AccountLook, machines: Sequence[Machine], looked_at: datetime) -> tuple[list[Finding], str]:
    """Each machine that is this account's business with whose it is, and why nothing may be ended ("": it may)."""
    attempts = {one.name: one for one in Attempt.objects.filter(name__in={machine.name for machine in machines})}
    before = {
        one.external_id: one
        for one in MachineSighting.objects.filter(provider=look.provider, credential=look.credential)
        .filter(Q(gone_at=None) | Q(external_id__in=[machine.external_id for machine in machines]))
        .select_related("attempt__job")
    }
    found: dict[str, Finding] = {}
    for machine in machines:
        attempt, sighting = attempts.get(machine.name), before.get(machine.external_id or machine.name)
        one = Finding(machine, attempt, _whose(machine, attempt, sighting, looked_at), sighting)
        # Two people may have keys of one account: what belongs to the other's attempt is looked after there.
        if attempt is None or one.whose is not Whose.OURS or attempt.credential_id == look.credential_id:
            found[one.external_id] = one
    ours = sum(1 for machine in machines if is_name_we_give(machine.name, settings.STOKER_INSTALLATION))
    why = why_hold_back([one.whose for one in found.values() if one.fresh], ours)
    findings = [
        replace(one, held_back=one.fresh and bool(why or (one.sighting and one.sighting.held_back)))
        for one in found.values()
    ]
    return findings, why


def _whose(machine: Machine, attempt: Attempt | None, sighting: MachineSighting | None, looked_at: datetime) -> Whose:
    known = Known(AttemptState(attempt.state), attempt.external_id, attempt.gone_at) if attempt else None
    external_id = machine.external_id or machine.name
    verdict = whose(machine.name, external_id, known, settings.STOKER_INSTALLATION, looked_at)
    if verdict is Whose.UNRECORDED and sighting is not None and sighting.verdict == Verdict.OWNED:
        return Whose.LEFT_OVER  # it was recorded once: its job was deleted since
    return verdict


def _take_in(
    look: AccountLook, token: UUID, machines: Sequence[Machine], looked_at: datetime, outcome: Outcome
) -> bool:
    """Write down what the list shows and what is to be ended. False: the claim was lost, so the list may be old."""
    with transaction.atomic():
        if not AccountLook.objects.select_for_update().filter(pk=look.pk, claim_token=token).exists():
            return False
        outcome.findings, why = _find(look, machines, looked_at)
        held = sum(1 for one in outcome.findings if one.held_back)
        outcome.held_back = why or (look.held_back if held else "")
        seen = _write_sightings(look, outcome.findings, looked_at)
        _write_gone(look, seen, looked_at)
        AccountLook.objects.filter(pk=look.pk).update(
            worked_at=looked_at, problem="", held_back=outcome.held_back[:300]
        )
    if why:
        logger.error("%s: %s Nothing is ended until a person confirms it: manage.py sweep --confirm", look, why)
    to_end = Q(verdict=Verdict.ORPHAN, held_back=False) | Q(verdict=Verdict.STRANGE, stop_sent_at__isnull=False)
    rows = MachineSighting.objects.filter(to_end, pk__in=seen).select_related("attempt__job")
    outcome.ordered = list(rows.order_by(F("stop_sent_at").asc(nulls_first=True), "pk")[:ORDERS])
    return True


def _write_sightings(look: AccountLook, findings: list[Finding], looked_at: datetime) -> list[int]:
    rows = [
        MachineSighting(
            provider=look.provider,
            credential=look.credential,
            name=one.machine.name[:200],
            external_id=one.external_id[:200],
            attempt=one.attempt,
            verdict=_verdict(one.whose),
            state=one.machine.state.value,
            price_per_hour=one.machine.price_per_hour,
            created_at=one.machine.created_at,
            first_seen_at=looked_at,
            last_seen_at=looked_at,
            held_back=one.held_back,
        )
        for one in findings
    ]
    written = MachineSighting.objects.bulk_create(
        rows,
        batch_size=1000,
        update_conflicts=True,
        unique_fields=["provider", "credential", "external_id"],
        update_fields=[
            "name", "attempt", "verdict", "state", "price_per_hour", "last_seen_at", "held_back", "missing_since",
            "gone_at",
        ],
    )  # fmt: skip
    return [row.pk for row in written]


def _verdict(whose: Whose) -> str:
    if whose.forgotten:
        return Verdict.ORPHAN
    return Verdict.STRANGE if whose is Whose.STRANGE else Verdict.OWNED


def _write_gone(look: AccountLook, seen: list[int], looked_at: datetime) -> None:
    """What two looks in a row have missed is gone; one is enough when its attempt ended with evidence of its own."""
    missing = MachineSighting.objects.filter(provider=look.provider, credential=look.credential, gone_at=None).exclude(
        pk__in=seen
    )
    missing.filter(missing_since=None).update(missing_since=looked_at)
    certain = Q(missing_since__lte=looked_at - ABSENCE) | Q(verdict=Verdict.OWNED, attempt__state__in=_CLOSED)
    for sighting in missing.filter(certain).select_related("attempt__job"):
        MachineSighting.objects.filter(pk=sighting.pk).update(gone_at=looked_at, held_back=False)
        tell_it_is_gone(sighting)


def _database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
