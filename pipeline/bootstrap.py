"""The exchange of a machine's first token for the one its program works with.

Where others can read a machine's environment, what lies in it must be worth nothing: a token that is good once, for a
short while, and only for this. Whoever exchanges it first shows a number of its own (the nonce), and may ask again with
the same one, because answers get lost; everybody else is told that it is spent.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Coalesce, Now

from pipeline import ingest, limits
from pipeline.models import Attempt, EventType, Job
from pipeline.models.access import JOB_TOKEN_PREFIX, new_token, token_hash
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.transitions import record_event
from training import bundle

MIN_NONCE, MAX_NONCE = 16, 200


class Expired(Conflict):
    """The machine came too late: the token in its environment is no longer good."""


@dataclass(frozen=True)
class Exchange:
    """What a machine needs to begin."""

    token: str  # for everything else on the wire; it takes the place of one handed out before
    program_url: str
    program_sha256: str
    seconds: int  # for how long the machine may train

    def to_json(self) -> dict[str, Any]:
        return {
            "token": self.token,
            "program": {"url": self.program_url, "sha256": self.program_sha256},
            "seconds": self.seconds,
        }


def exchange(attempt_id: UUID, data: Any) -> Exchange:
    """Hand out a fresh token for an attempt, and note that its machine has called.

    Raise InvalidInput for a missing nonce, AttemptOver, Expired, or Conflict when another machine was first.
    """
    nonce = data.get("nonce") if isinstance(data, dict) else None
    if not isinstance(nonce, str) or not MIN_NONCE <= len(nonce) <= MAX_NONCE:
        message = f"A random text of {MIN_NONCE} to {MAX_NONCE} characters, the same in every try of one machine."
        raise InvalidInput([FieldError("nonce", message)])
    program_sha256 = hashlib.sha256(bundle.content()).hexdigest()
    token, shown = new_token(JOB_TOKEN_PREFIX), token_hash(nonce)
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(attempts=attempt_id)
        attempt = Attempt.objects.get(pk=attempt_id)
        if not attempt.is_open:
            raise ingest.AttemptOver(attempt.name)
        if not Attempt.objects.filter(pk=attempt_id, bootstrap_until__gt=Now()).exists():
            raise Expired("This machine called too late; its first token is no longer good.", code="expired")
        if attempt.bootstrap_nonce and not hmac.compare_digest(attempt.bootstrap_nonce, shown):
            message = "The first token of this attempt was exchanged by another machine, or by this one before."
            raise Conflict(message, code="already_exchanged")
        Attempt.objects.filter(pk=attempt_id).update(
            bootstrap_nonce=shown,
            token_hash=token_hash(token),
            first_contact_at=Coalesce("first_contact_at", Now()),
            last_seen_at=Now(),
        )
        if not attempt.bootstrap_nonce:
            record_event(
                job.pk, EventType.ATTEMPT, "The machine has called.", data={"what": "called"}, attempt=attempt.n
            )
        seconds = limits.seconds_granted(job, attempt)
    return Exchange(token, f"{settings.STOKER_PUBLIC_URL}/api/training/program", program_sha256, seconds)
