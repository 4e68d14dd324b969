"""Sentences about jobs that more than one place says."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from pipeline.providers.registry import UnknownProvider, provider_class
from pipeline.states import CONSEQUENCES, EndReason

if TYPE_CHECKING:
    from pipeline.models import Job


def is_simulated(provider: str) -> bool:
    """Whether nothing real happens at this provider; False for one that is no longer installed."""
    try:
        return provider_class(provider).simulated
    except UnknownProvider:
        return False


def reason_text(reason: str, provider: str) -> str:
    """Why a job ended and what to do, for people; empty while it has not ended."""
    if not reason:
        return ""
    if reason == EndReason.COMPLETED and is_simulated(provider):
        return "The simulation is over. Nothing was trained, so there is no adapter."
    return CONSEQUENCES[EndReason(reason)].text


def ending_text(job: Job, reason: str = "") -> str:
    """Why a job ended, or is about to for `reason`; with what the rule saw where one stopped it."""
    reason = reason or job.reason
    text = reason_text(reason, job.provider)
    if reason != EndReason.STOPPED_BY_RULE or not job.stop_detail:
        return text
    told, _, advice = text.partition(". ")
    return f"{told}: {job.stop_detail} {advice}"


def usd(amount: Decimal) -> str:
    """An amount for a sentence. Small ones keep four decimals, or a cheap run would look free."""
    sign, amount = ("-" if amount < 0 else ""), abs(amount)
    return f"{sign}${amount:,.2f}" if amount == 0 or amount >= Decimal("0.1") else f"{sign}${amount:.4f}"
