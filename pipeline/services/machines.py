"""What runs at the accounts now and what it costs, as the operators' board and the deployments API show it."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from pipeline.costs import amount_for
from pipeline.models import MachineSighting
from pipeline.states import AttemptState

Verdict = MachineSighting.Verdict


def cost_of(sighting: MachineSighting, now: datetime) -> Decimal | None:
    """What a machine has cost so far, about: its time x its price. Of a forgotten one, what it cost since it was.

    None when the provider does not tell a price.
    """
    if sighting.price_per_hour is None:
        return None
    until = sighting.missing_since or sighting.gone_at or now
    return amount_for(max(until - costs_since(sighting), timedelta(0)), sighting.price_per_hour)


def costs_since(sighting: MachineSighting) -> datetime:
    """From when its cost is nobody's business but this page's: the end of its attempt, where it had one."""
    since = sighting.created_at or sighting.first_seen_at
    attempt = sighting.attempt
    if sighting.verdict == Verdict.ORPHAN and attempt and attempt.state == AttemptState.GONE and attempt.gone_at:
        return max(since, attempt.gone_at)
    return since
