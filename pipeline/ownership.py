"""Whose a machine at a provider is, as pure functions of its name, what our rows say, and the time.

A machine is ended by itself only when our rows prove that nobody waits for it. Everything else is shown to people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from pipeline.states import ATTEMPT_CLOSED, AttemptState

SETTLING = timedelta(seconds=30)  # a list may be this old: what ended just now may still stand in it
MANY = 3  # more than so many forgotten machines at once,
SHARE = 0.3  # which are more than this share of ours at the account, look like a mistake of our own


class Whose(Enum):
    """Why a machine is somebody's or nobody's. The values are sentences for people."""

    OURS = "It belongs to an attempt that is not over."
    LEFT_OVER = "It was still there after the end of its attempt."
    SECOND = "It bears the name of an attempt whose machine is another one."
    UNRECORDED = "It bears a name we give, but this database has no such attempt."
    STRANGE = "It bears our prefix, but no name we give."

    @property
    def forgotten(self) -> bool:
        return self in (Whose.LEFT_OVER, Whose.SECOND, Whose.UNRECORDED)


@dataclass(frozen=True)
class Known:
    """What our rows say about the attempt whose name a machine bears."""

    state: AttemptState
    external_id: str
    closed_at: datetime | None


def machine_name(installation: str, job_hex: str, n: int) -> str:
    """The name of the machine of a job's attempt: unique for ever, and ours beyond doubt."""
    return f"stoker-{installation}-{job_hex[:12]}-a{n}"


def is_name_we_give(name: str, installation: str) -> bool:
    return re.fullmatch(rf"stoker-{re.escape(installation)}-[0-9a-f]{{12}}-a[1-9][0-9]{{0,4}}", name) is not None


def whose(name: str, external_id: str, attempt: Known | None, installation: str, looked_at: datetime) -> Whose:
    """`attempt` is what was read, after the look, about the attempt of that name; None: there is none."""
    if not is_name_we_give(name, installation):
        return Whose.STRANGE
    if attempt is None:
        return Whose.UNRECORDED
    if attempt.state in ATTEMPT_CLOSED:
        settling = attempt.closed_at is not None and attempt.closed_at > looked_at - SETTLING
        return Whose.OURS if settling else Whose.LEFT_OVER
    # An attempt that has not learned of its machine yet will adopt one of that name.
    known = attempt.state == AttemptState.LIVE and attempt.external_id
    return Whose.SECOND if known and attempt.external_id != external_id else Whose.OURS


def why_hold_back(fresh: Sequence[Whose], ours: int) -> str:
    """Why none of the forgotten machines that were not told to end yet may be ended without a person; "": they may.

    `ours` counts all machines of this installation at the account.
    """
    unrecorded = sum(1 for one in fresh if one is Whose.UNRECORDED)
    if unrecorded:
        return (
            f"{_machines(unrecorded)} of ours belong{'s' if unrecorded == 1 else ''} to attempts that this database "
            "does not know. It may be a restored backup or a copy, and somebody may still need them."
        )
    if len(fresh) > MANY and len(fresh) > SHARE * ours:
        return f"{len(fresh)} of {_machines(ours)} look forgotten at once, which is more likely a mistake of ours."
    return ""


def _machines(count: int) -> str:
    return "1 machine" if count == 1 else f"{count} machines"
