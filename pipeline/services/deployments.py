"""A job's machines as they stand: what was rented for it, what is still there, and what it has cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone

from pipeline.costs import amount_for
from pipeline.models import Attempt, Job, MachineSighting
from pipeline.services.machines import cost_of
from pipeline.states import AttemptState


@dataclass(frozen=True)
class Rented:
    """One machine of a job. `attempt` is None for one that bears no name of an attempt we know."""

    attempt: int
    name: str
    external_id: str
    gpu_type: str
    state: str  # in the provider's terms while it is there; "asked_for", "gone" or "never_created" otherwise
    state_seen_at: datetime | None
    price_per_hour: Decimal
    cost: Decimal
    since: datetime | None
    until: datetime | None
    forgotten: bool = False  # nobody waits for it: it is being ended

    @property
    def uptime_seconds(self) -> float:
        if self.since is None:
            return 0.0
        return max(0.0, ((self.until or timezone.now()) - self.since).total_seconds())


def machines_of(job: Job) -> list[Rented]:
    """All machines that were rented for a job, newest first, and those beside them that nobody asked for."""
    now = timezone.now()
    seen = list(MachineSighting.objects.filter(attempt__job=job).select_related("attempt").order_by("-last_seen_at"))
    own = {one.attempt_id: one for one in reversed(seen) if one.verdict == MachineSighting.Verdict.OWNED}
    attempts = job.attempts.order_by("-n").annotate(
        metered=Sum("cost_records__amount", filter=Q(cost_records__kind="metered"))
    )
    rented = [_of_attempt(job, attempt, own.get(attempt.pk), now) for attempt in attempts]
    return rented + [_beside(job, one, now) for one in _forgotten(seen)]


def _of_attempt(job: Job, attempt: Attempt, seen: MachineSighting | None, now: datetime) -> Rented:
    metered: Decimal = getattr(attempt, "metered", None) or Decimal(0)
    if attempt.is_open and attempt.metered_until is not None:
        metered += amount_for(max(now - attempt.metered_until, now - now), attempt.price_per_hour)
    state, at = _state(attempt, seen)
    return Rented(
        attempt.n, attempt.name, attempt.external_id, attempt.gpu_type or job.gpu_type, state, at,
        attempt.price_per_hour, metered, attempt.machine_seen_at, attempt.gone_at,
    )  # fmt: skip


def _state(attempt: Attempt, seen: MachineSighting | None) -> tuple[str, datetime | None]:
    """What the provider said last, by a look of ours or by the sweep's list."""
    if not attempt.is_open:
        return attempt.state, attempt.gone_at
    if attempt.state == AttemptState.INTENT:
        return "asked_for", None
    if seen is not None and seen.gone_at is None:
        return ("missing", seen.missing_since) if seen.missing_since else (seen.state, seen.last_seen_at)
    for state, at in (("exited", attempt.exited_seen_at), ("running", attempt.running_seen_at)):
        if at is not None:
            return state, at
    return "starting", attempt.machine_seen_at


def _forgotten(seen: Iterable[MachineSighting]) -> list[MachineSighting]:
    return [one for one in seen if one.verdict == MachineSighting.Verdict.ORPHAN]


def _beside(job: Job, one: MachineSighting, now: datetime) -> Rented:
    assert one.attempt is not None
    return Rented(
        one.attempt.n, one.name, one.external_id, job.gpu_type, "gone" if one.gone_at else one.state,
        one.gone_at or one.last_seen_at, one.price_per_hour or Decimal(0), cost_of(one, now) or Decimal(0),
        one.created_at or one.first_seen_at, one.gone_at, forgotten=True,
    )  # fmt: skip


def summary(job: Job) -> dict[str, Any]:
    """A deployment: the job's place, its machines, and what they cost in all."""
    machines = machines_of(job)
    return {
        "job": job.pk,
        "provider": job.provider,
        "status": job.status,
        "gpu_type": job.gpu_type,
        "gpu_count": job.gpu_count,
        "cloud": job.cloud,
        "cost": sum((one.cost for one in machines), Decimal(0)),
        "machines": machines,
    }
