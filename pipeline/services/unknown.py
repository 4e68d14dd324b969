"""Settling a creation whose answer was lost at a provider that cannot be searched: somebody says what became of it.

Until then the attempt stays open, so that nothing is asked for twice and "cancelled" is not said.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from pipeline import accounts
from pipeline.leases import claim, fenced, release
from pipeline.models import Attempt, EventType
from pipeline.models.jobs import Desired
from pipeline.providers.base import Machine, MachineRef, MachineState, ProviderError
from pipeline.providers.registry import provider_class
from pipeline.services import submission
from pipeline.services.ending import close_attempt, end_job
from pipeline.services.errors import Conflict
from pipeline.services.facts import made_calls
from pipeline.states import AttemptState, EndReason, JobStatus
from pipeline.transitions import record_event

MAX_ID = 200


def is_unknown(attempt: Attempt) -> bool:
    """Whether a machine may exist for it of which we know no id, and which no look can find."""
    return (
        attempt.state == AttemptState.INTENT
        and not provider_class(attempt.provider).finds_by_name
        and made_calls(attempt.calls.all()).exists()
    )


def adopt_unknown(attempt: Attempt, external_id: str, *, actor: str) -> None:
    """The provider has a machine for it under this id: go on with that, if the provider says the same.

    `actor` is empty when the machine said so itself. Raise Conflict with a sentence when it cannot be.
    """
    external_id = external_id.strip()
    if not external_id or len(external_id) > MAX_ID:
        raise Conflict(f"Give the id the provider shows for it, of at most {MAX_ID} characters.", code="invalid")
    others = Attempt.objects.filter(
        provider=attempt.provider, credential=attempt.credential_id, external_id=external_id
    ).exclude(pk=attempt.pk)
    if other := others.first():
        raise Conflict(f"{external_id} belongs to {other.name}. Each attempt has a machine of its own.", code="taken")
    with _settling(attempt) as lease:
        machine = _seen(attempt, external_id)
        with fenced(attempt.job_id, lease):
            message = f"The lost answer is known: the provider has {external_id}."
            record_event(attempt.job_id, EventType.ATTEMPT, message, data=_DATA, attempt=attempt.n, actor=actor)
        submission.adopt(attempt.job_id, lease, attempt, machine)
    attempt.refresh_from_db()


def close_unknown(attempt: Attempt, *, actor: str) -> None:
    """`actor` has looked, and the provider has nothing for it: the attempt is over. Raise Conflict if it called us."""
    with _settling(attempt) as lease, fenced(attempt.job_id, lease) as job:
        attempt.refresh_from_db()
        if attempt.first_contact_at or attempt.machine_seen_at:
            raise Conflict("It has called this server, so it does exist. Find its id at the provider.", code="exists")
        evidence = f"{actor} looked at the provider and states that it has nothing of this name."
        record_event(job.pk, EventType.ATTEMPT, evidence, data=_DATA, attempt=attempt.n, actor=actor)
        reason = EndReason(job.stop_reason) if job.desired == Desired.STOP else EndReason.PROVIDER_ERROR
        close_attempt(attempt, reason, evidence, never_created=True)
        end_job(job, attempt, reason)


_DATA = {"what": "settled"}


@contextmanager
def _settling(attempt: Attempt) -> Iterator[UUID]:
    """Nobody else looks after the job meanwhile, a submission under way least of all. Raise Conflict otherwise."""
    lease = claim(attempt.job_id, JobStatus.INITIALIZING, JobStatus.RUNNING, JobStatus.CANCELLING)
    if lease is None:
        raise Conflict("The job is being looked after at this moment. Try again in a minute.", code="busy")
    try:
        attempt.refresh_from_db()
        if not is_unknown(attempt):
            raise Conflict("It is known what became of this attempt; there is nothing to settle.", code="known")
        yield lease
    finally:
        release(attempt.job_id, lease)


def _seen(attempt: Attempt, external_id: str) -> Machine:
    """The machine as the provider shows it under that id."""
    try:
        provider = accounts.provider_of(attempt)
        machine = provider.observe([MachineRef(attempt.name, external_id)]).get(attempt.name)
    except ProviderError as error:
        raise Conflict(f"The provider could not be asked about {external_id}. {error}", code="unavailable") from error
    if machine is None:
        raise Conflict(f"The provider knows nothing under the id {external_id}.", code="not_found")
    if machine.state is MachineState.UNKNOWN:
        raise Conflict(f"What the provider says about {external_id} cannot be used. {machine.detail}", code="unclear")
    return machine
