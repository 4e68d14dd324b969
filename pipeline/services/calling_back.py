"""What a provider says at a callback address. It is a hint, never evidence: progress is stored as from a look, and the
provider is asked itself at once, whatever the hint said."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from pipeline import ingest, wake
from pipeline.models import Attempt, Job
from pipeline.providers.base import Machine, MachineState, TakesCallbacks
from pipeline.providers.registry import provider_class
from pipeline.services import unknown
from pipeline.services.errors import FieldError, InvalidInput, Refusal
from pipeline.states import AttemptState

logger = logging.getLogger(__name__)

ASK_AGAIN = timedelta(seconds=1)  # however often it calls, the provider is asked no oftener


def take(attempt: Attempt, body: Any) -> None:
    """Take in one call about an open attempt. Raise InvalidInput when it is none, AttemptOver when that has ended."""
    kind = provider_class(attempt.provider)
    if not isinstance(body, Mapping) or not issubclass(kind, TakesCallbacks):
        raise InvalidInput([FieldError("", "Send the status of the job, a JSON object.")])
    if body.get("job_id", attempt.name) != attempt.name:
        raise InvalidInput([FieldError("job_id", "This address belongs to another job.")])
    if not attempt.is_open:
        raise ingest.AttemptOver(attempt.name)
    if attempt.state == AttemptState.INTENT:
        _learn_its_id(attempt, kind.called_id(body))
    report = kind.report_of(body, attempt.reported_step)
    state = MachineState.RUNNING if report.stage or report.points else MachineState.STARTING
    ingest.record_report(attempt, Machine(attempt.name, attempt.external_id, state, report=report))
    soon = Job.objects.active().filter(pk=attempt.job_id, next_check_at__gt=Now() + ASK_AGAIN)
    if soon.update(next_check_at=Now() + ASK_AGAIN):
        wake.poll(attempt.job_id, after=ASK_AGAIN.total_seconds())


def _learn_its_id(attempt: Attempt, external_id: str) -> None:
    """An answer that was lost is known after all, if the provider confirms it. Otherwise nothing changes."""
    if not external_id:
        return
    try:
        unknown.adopt_unknown(attempt, external_id, actor="")
    except Refusal as refusal:
        logger.info("attempt %s: its callback named %s, but: %s", attempt.name, external_id, refusal)
