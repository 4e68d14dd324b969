"""What runs at the accounts now and what it costs, as operators see it on their board."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db.models import Q, QuerySet

from pipeline.costs import amount_for
from pipeline.models import AccountLook, Attempt, Credential, MachineSighting
from pipeline.ownership import Whose
from pipeline.providers.registry import UnknownProvider, provider_class
from pipeline.states import ATTEMPT_CLOSED, AttemptState

Verdict = MachineSighting.Verdict
SPAN = timedelta(days=30)
LATE = timedelta(minutes=5)  # a look that worked this long ago says little about now
Key = tuple[str, UUID | None]  # provider and credential: one account


@dataclass(frozen=True)
class OnBoard:
    """One machine that is there, or that may be: seen in a list, or known from its attempt alone."""

    name: str
    external_id: str
    attempt: Attempt | None
    sighting: MachineSighting | None
    state: str
    whose: Whose
    since: datetime
    price_per_hour: Decimal | None
    cost: Decimal | None

    @property
    def worry(self) -> int:
        """The more, the further up."""
        if self.sighting is not None and self.sighting.stop_problem:
            return 3
        return 2 if self.whose.forgotten else 1 if self.whose is Whose.STRANGE else 0


@dataclass
class Account:
    """One account with what runs there and how the last look at it went."""

    provider: str
    label: str
    credential: Credential | None
    look: AccountLook | None  # None: its machines cannot be listed
    machines: list[OnBoard] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def held_back(self) -> list[OnBoard]:
        return [one for one in self.machines if one.sighting is not None and one.sighting.held_back]

    @property
    def price_per_hour(self) -> Decimal:
        return sum((one.price_per_hour or Decimal(0) for one in self.machines), Decimal(0))

    @property
    def worry(self) -> tuple[int, int, int]:
        return len(self.held_back), len(self.problems), max((one.worry for one in self.machines), default=0)


@dataclass(frozen=True)
class Forgotten:
    """Machines that nobody waited for in the last 30 days, and what they cost from then on."""

    count: int
    cost: Decimal
    still_there: int


def accounts_now(looks: QuerySet[AccountLook], now: datetime) -> list[Account]:
    """All accounts, those with something to worry about first, and so their machines."""
    accounts: dict[Key, Account] = {}
    for look in looks:
        accounts[look.provider, look.credential_id] = _account(look.provider, look.credential, look, now)
    for key, machine, credential in _machines(now):
        if key not in accounts:
            accounts[key] = _account(key[0], credential, None, now)
        accounts[key].machines.append(machine)
    for account in accounts.values():
        account.machines.sort(key=lambda one: (-one.worry, one.since))
    return sorted(accounts.values(), key=lambda one: (*(-part for part in one.worry), one.label))


def forgotten(now: datetime) -> Forgotten:
    rows = MachineSighting.objects.filter(Q(gone_at=None) | Q(gone_at__gt=now - SPAN), verdict=Verdict.ORPHAN)
    # Two people may have keys of one account: its machines are seen twice, but cost once.
    each = {(one.provider, one.name, one.external_id): one for one in rows.select_related("attempt")}
    return Forgotten(
        len(each),
        sum((cost_of(one, now) or Decimal(0) for one in each.values()), Decimal(0)),
        sum(1 for one in each.values() if one.gone_at is None),
    )


def cost_of(sighting: MachineSighting, now: datetime) -> Decimal | None:
    """What a machine has cost so far, about: its time x its price. Of a forgotten one, what it cost since it was.

    None when the provider does not tell a price.
    """
    if sighting.price_per_hour is None:
        return None
    until = sighting.missing_since or sighting.gone_at or now
    return amount_for(max(until - _costs_since(sighting), timedelta(0)), sighting.price_per_hour)


def _costs_since(sighting: MachineSighting) -> datetime:
    since = sighting.created_at or sighting.first_seen_at
    attempt = sighting.attempt
    if sighting.verdict == Verdict.ORPHAN and attempt and attempt.state == AttemptState.GONE and attempt.gone_at:
        return max(since, attempt.gone_at)
    return since


def _account(provider: str, credential: Credential | None, look: AccountLook | None, now: datetime) -> Account:
    try:
        label = provider_class(provider).label
    except UnknownProvider:
        label = f"{provider} (not installed)"
    account = Account(provider, label, credential, look)
    if look is not None and look.problem:
        account.problems.append(f"The last look did not work: {look.problem}")
    if look is not None and look.tried_at and (look.worked_at is None or now - look.worked_at > LATE):
        account.problems.append("What is shown may be old: no look has worked for more than five minutes.")
    if credential is not None and credential.problem and credential.problem not in " ".join(account.problems):
        account.problems.append(credential.problem)
    return account


def _machines(now: datetime) -> list[tuple[Key, OnBoard, Credential | None]]:
    found: list[tuple[Key, OnBoard, Credential | None]] = []
    shown: defaultdict[UUID | None, int] = defaultdict(int)
    sightings = MachineSighting.objects.filter(gone_at=None)
    for one in sightings.select_related("attempt__job__owner", "credential__owner"):
        found.append(((one.provider, one.credential_id), _seen(one, now), one.credential))
        shown[one.attempt_id] += one.verdict == Verdict.OWNED
    open_ones = Attempt.objects.exclude(state__in=[state.value for state in ATTEMPT_CLOSED])
    found += [
        ((one.provider, one.credential_id), _not_listed(one, now), one.credential)
        for one in open_ones.select_related("job__owner", "credential__owner")
        if not shown[one.pk]
    ]
    return found


def _seen(sighting: MachineSighting, now: datetime) -> OnBoard:
    return OnBoard(
        sighting.name,
        sighting.external_id,
        sighting.attempt,
        sighting,
        "missing" if sighting.missing_since else sighting.state,
        why_shown(sighting),
        sighting.created_at or sighting.first_seen_at,
        sighting.price_per_hour,
        cost_of(sighting, now),
    )


def why_shown(sighting: MachineSighting) -> Whose:
    """Whose a machine was found to be, from its row."""
    if sighting.verdict == Verdict.ORPHAN:
        if sighting.attempt is None:
            return Whose.UNRECORDED
        return Whose.SECOND if sighting.attempt.is_open else Whose.LEFT_OVER
    return Whose.STRANGE if sighting.verdict == Verdict.STRANGE else Whose.OURS


def _not_listed(attempt: Attempt, now: datetime) -> OnBoard:
    """An attempt whose machine no list has shown: it was made a moment ago, or its provider cannot list."""
    since = attempt.machine_seen_at or attempt.created_at
    cost = amount_for(max(now - since, timedelta(0)), attempt.price_per_hour) if attempt.machine_seen_at else None
    state = "asked for" if attempt.state == AttemptState.INTENT else "not listed"
    return OnBoard(
        attempt.name, attempt.external_id, attempt, None, state, Whose.OURS, since, attempt.price_per_hour, cost
    )
