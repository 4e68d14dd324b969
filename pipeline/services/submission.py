"""Submission: from a queued job to a machine that exists, without ever making two.

The order is the safety: the attempt is committed before anything is asked for, the provider is looked at before it is
asked to create, the call is written down before it is made, and an answer that was not understood is never followed by
a second call, but by looking (pipeline.decide).
"""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db.models.functions import Now

from pipeline import wake
from pipeline.leases import LeaseLost, claim, claim_due, fenced, looking_after, release
from pipeline.models import Attempt, CallOutcome, EventType, Job, ProviderCall
from pipeline.models.access import JOB_TOKEN_PREFIX, new_token, token_hash
from pipeline.models.jobs import Desired
from pipeline.providers.base import AuthError, CreateRequest, Machine, MachineRef, NoCapacity, ProviderError, Refused
from pipeline.providers.registry import get_provider
from pipeline.services.ending import close_attempt, end_job
from pipeline.states import ATTEMPT_CLOSED, AttemptState, EndReason, JobStatus
from pipeline.transitions import advance, record_event, set_stage
from training import contract

SLOT_WAIT_SECONDS = 5.0


def submit_due() -> int:
    """Submit the queued jobs that are due, a bounded number a cycle. Return how many were looked at."""
    leases = claim_due(settings.STOKER_SUBMITS_PER_CYCLE, JobStatus.QUEUED, wanting_stop=False)
    for job_id, lease in leases.items():
        _submit(job_id, lease)
    return len(leases)


def submit(job_id: UUID) -> None:
    """Submit one job if it is queued and nobody else does. Safe to call twice, late, or never."""
    lease = claim(job_id, JobStatus.QUEUED)
    if lease is not None:
        _submit(job_id, lease)


def go_on(job_id: UUID, lease: UUID, attempt: Attempt) -> None:
    """Finish the submission of an attempt whose provider was surely not asked before its worker died."""
    _create(job_id, lease, attempt)


def _submit(job_id: UUID, lease: UUID) -> None:
    with looking_after(job_id, lease):
        job = Job.objects.get(pk=job_id)
        if job.desired == Desired.STOP:
            wake.cancel(job_id)
        elif get_provider(job.provider).free_slots() == 0:
            set_stage(job_id, "waiting_for_slot", "Waiting: every slot of this provider is taken.")
            release(job_id, lease, next_check_in=SLOT_WAIT_SECONDS)
            wake.submit(job_id, after=SLOT_WAIT_SECONDS)
        else:
            _create(job_id, lease, _write_intent(job_id, lease))


def _write_intent(job_id: UUID, lease: UUID) -> Attempt:
    with fenced(job_id, lease) as job:
        if job.status != JobStatus.QUEUED or job.desired != Desired.RUN:
            raise LeaseLost(f"Job {job_id} is no longer waiting.")
        n = (job.attempts.order_by("-n").values_list("n", flat=True).first() or 0) + 1
        name = f"stoker-{settings.STOKER_INSTALLATION}-{job.pk.hex[:12]}-a{n}"
        attempt = Attempt.objects.create(
            job=job, n=n, name=name, provider=job.provider, price_per_hour=job.price_per_hour
        )
        advance(job_id, JobStatus.INITIALIZING, f"Attempt {n}: asking for a machine.", stage="submitting", attempt=n)
    return attempt


def _create(job_id: UUID, lease: UUID, attempt: Attempt) -> None:
    provider = get_provider(attempt.provider)
    ref = MachineRef(attempt.name)
    found = provider.observe([ref]).get(attempt.name)
    if found is not None:
        adopt(job_id, lease, attempt, found)
        return
    with fenced(job_id, lease) as job:
        token = new_token(JOB_TOKEN_PREFIX)
        Attempt.objects.filter(pk=attempt.pk).update(token_hash=token_hash(token))
        call = ProviderCall.objects.create(attempt=attempt, op="create")
        request = _request(job, attempt, token)
    try:
        machine = provider.create(request)
    except (NoCapacity, Refused, AuthError) as error:
        _answered(call, CallOutcome.DEFINITE_NO, error)
        _refused(job_id, lease, attempt, error)
    except Exception as error:  # noqa: BLE001
        # Whatever it was, the machine may exist now: from here on only looking helps.
        _answered(call, CallOutcome.UNKNOWN, error)
        with fenced(job_id, lease):
            Attempt.objects.filter(pk=attempt.pk).update(create_unknown_since=Now())
            record_event(
                job_id,
                EventType.WARNING,
                f"The provider's answer was not understood: {error}",
                level="warning",
                attempt=attempt.n,
            )
        release(job_id, lease, next_check_in=5.0)
        wake.poll(job_id, after=5.0)
    else:
        _answered(call, CallOutcome.OK, None)
        adopt(job_id, lease, attempt, machine)


def adopt(job_id: UUID, lease: UUID, attempt: Attempt, machine: Machine) -> None:
    """Write down that the machine of an attempt exists, whoever created it and however we learned of it."""
    price = machine.price_per_hour if machine.price_per_hour is not None else attempt.price_per_hour
    with fenced(job_id, lease) as job:
        became_live = (
            Attempt.objects.filter(pk=attempt.pk)
            .exclude(state__in=[s.value for s in ATTEMPT_CLOSED])
            .filter(state=AttemptState.INTENT)
            .update(
                state=AttemptState.LIVE,
                external_id=machine.external_id,
                price_per_hour=price,
                machine_seen_at=Now(),
                metered_until=Now(),
                create_unknown_since=None,
                list_misses=0,
                first_missed_at=None,
            )
        )
        if became_live:
            record_event(
                job_id,
                EventType.ATTEMPT,
                f"Machine {machine.external_id} exists.",
                data={"what": "created", "external_id": machine.external_id, "price_per_hour": str(price)},
                attempt=attempt.n,
            )
            if job.status == JobStatus.INITIALIZING:
                set_stage(job_id, "provisioning", "The machine is starting.", attempt=attempt.n)
    poll_in = get_provider(attempt.provider).poll_seconds
    release(job_id, lease, next_check_in=poll_in)
    wake.poll(job_id, after=poll_in)


def _request(job: Job, attempt: Attempt, token: str) -> CreateRequest:
    api = f"{settings.STOKER_PUBLIC_URL}/api/training/jobs"
    return CreateRequest(
        name=attempt.name,
        gpu_type=job.gpu_type,
        gpu_count=job.gpu_count,
        cloud=job.cloud,
        environment={
            contract.ENV_JOB_ID: str(job.pk),
            contract.ENV_JOB_TOKEN: token,
            contract.ENV_METRICS_API_URL: api,
        },
        max_seconds=job.max_duration,
        base_model=job.base_model,
        hyperparameters=job.hyperparameters,
        dataset_rows=job.dataset.total_training_pairs or 0,
        callback_url=f"{api}/{job.pk}/metrics",
        seed=int(job.pk.hex[:8], 16),
    )


def _answered(call: ProviderCall, outcome: CallOutcome, error: Exception | None) -> None:
    call.outcome = outcome
    call.ended_at = Now()
    if error is not None:
        call.detail = f"{type(error).__name__}: {error}"
    if isinstance(error, ProviderError):
        call.http_status, call.request_id = error.status, error.request_id
    call.save(update_fields=["outcome", "ended_at", "detail", "http_status", "request_id"])


def _refused(job_id: UUID, lease: UUID, attempt: Attempt, error: ProviderError) -> None:
    reason = {NoCapacity: EndReason.NO_CAPACITY, AuthError: EndReason.PROVIDER_AUTH}.get(
        type(error), EndReason.PROVIDER_ERROR
    )
    with fenced(job_id, lease) as job:
        close_attempt(
            attempt, reason, f"The provider refused: {error}"[:300], never_created=True, error_message=str(error)
        )
        # A plain refusal will be repeated word for word, so only a lack of capacity is worth another try.
        end_job(job, attempt, reason, may_retry=isinstance(error, NoCapacity), retry_after=error.retry_after)
