"""Submission: from a queued job to a machine that exists, without ever making two.

The order is the safety: the attempt is committed before anything is asked for, the provider is looked at before it is
asked to create, the call is written down before it is made, and an answer that was not understood is never followed by
a second call, but by looking (pipeline.decide).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models.functions import Coalesce, Now

from pipeline import accounts, balances, clock, limits, runs, wake
from pipeline.callback_tokens import callback_url
from pipeline.killpoints import killpoint
from pipeline.leases import LeaseLost, claim, claim_due, fenced, looking_after, release
from pipeline.models import Attempt, CallOutcome, Credential, EventType, Job, ProviderCall
from pipeline.models.access import BOOTSTRAP_TOKEN_PREFIX, JOB_TOKEN_PREFIX, new_token, token_hash
from pipeline.models.jobs import Desired
from pipeline.ownership import machine_name
from pipeline.providers.base import (
    AuthError,
    CreateRequest,
    Machine,
    MachineRef,
    NoCapacity,
    NoFunds,
    NotSent,
    Provider,
    ProviderError,
    Refused,
)
from pipeline.providers.registry import provider_class
from pipeline.services.ending import close_attempt, end_job
from pipeline.services.facts import made_calls
from pipeline.states import ATTEMPT_CLOSED, AttemptState, EndReason, JobStatus
from pipeline.transitions import advance, record_event, set_stage
from training import contract

SLOT_WAIT_SECONDS = 5.0
NOT_REACHED_SECONDS = 15.0
BOOTSTRAP_VALID = timedelta(minutes=30)


def submit_due(overdue: timedelta = timedelta(0)) -> int:
    """Submit the queued jobs that are due, a bounded number a cycle. Return how many were looked at."""
    leases = claim_due(settings.STOKER_SUBMITS_PER_CYCLE, JobStatus.QUEUED, wanting_stop=False, within=-overdue)
    for job_id, lease in leases.items():
        _submit(job_id, lease)
    return len(leases)


def submit(job_id: UUID) -> None:
    """Submit one job if it is queued and nobody else does. Safe to call twice, late, or never."""
    lease = claim(job_id, JobStatus.QUEUED)
    if lease is not None:
        _submit(job_id, lease)


def go_on(job_id: UUID, lease: UUID, attempt: Attempt, provider: Provider) -> None:
    """Finish the submission of an attempt: its provider was surely not asked, or may be asked twice without harm."""
    _create(job_id, lease, attempt, provider)


def _submit(job_id: UUID, lease: UUID) -> None:
    with looking_after(job_id, lease):
        job = Job.objects.get(pk=job_id)
        if job.desired == Desired.STOP:
            wake.cancel(job_id)
            return
        try:
            credential = accounts.credential_for(job.owner_id, job.provider)
        except accounts.NoAccount as error:
            _fail_before(job_id, lease, EndReason.PROVIDER_AUTH, str(error))
            return
        provider = accounts.provider_with(job.provider, credential)
        if provider.free_slots() == 0:
            set_stage(job_id, "waiting_for_slot", "Waiting: every slot of this provider is taken.")
            release(job_id, lease, next_check_in=SLOT_WAIT_SECONDS)
            wake.submit(job_id, after=SLOT_WAIT_SECONDS)
        elif too_little := balances.too_little_for(credential, provider, job.price_per_hour):
            _fail_before(job_id, lease, EndReason.NO_FUNDS, too_little)
        else:
            _create(job_id, lease, _write_intent(job_id, lease, credential), provider)


def _fail_before(job_id: UUID, lease: UUID, reason: EndReason, sentence: str) -> None:
    """End a job for which no machine can be asked for."""
    with fenced(job_id, lease) as job:
        advance(
            job.pk, JobStatus.FAILED, sentence, stage="ended", level="error", reason=reason, error_message=sentence,
            final_cost=job.current_cost,
        )  # fmt: skip


def _write_intent(job_id: UUID, lease: UUID, credential: Credential | None) -> Attempt:
    with fenced(job_id, lease) as job:
        if job.status != JobStatus.QUEUED or job.desired != Desired.RUN:
            raise LeaseLost(f"Job {job_id} is no longer waiting.")
        if not accounts.unchanged(credential):
            # The machine would be made with the old key, perhaps in an account that nobody looks at any more.
            raise LeaseLost(f"Job {job_id}: the key of its account was replaced or removed meanwhile.")
        n = (job.attempts.order_by("-n").values_list("n", flat=True).first() or 0) + 1
        name = machine_name(settings.STOKER_INSTALLATION, job.pk.hex, n)
        attempt = Attempt.objects.create(
            job=job,
            n=n,
            name=name,
            provider=job.provider,
            credential=credential,
            price_per_hour=job.price_per_hour,
        )
        # It stays due, so that whoever finds this process dead goes on; how this ends says when to look next.
        message = f"Attempt {n}: asking for a machine."
        advance(job_id, JobStatus.INITIALIZING, message, stage="submitting", attempt=n, next_check_in=None)
        killpoint("intent.before_commit")
    killpoint("intent.after_commit")
    return attempt


def _create(job_id: UUID, lease: UUID, attempt: Attempt, provider: Provider) -> None:
    found = provider.observe([MachineRef(attempt.name)]).get(attempt.name)
    if found is not None:
        adopt(job_id, lease, attempt, found)
        return
    with fenced(job_id, lease) as job:
        unsettled = made_calls(attempt.calls.all()).exists()
        token = _new_token(attempt, provider)
        call = ProviderCall.objects.create(attempt=attempt, op="create")
        # From here on a machine may exist that no look shows yet: whoever comes after a crash counts from this moment.
        Attempt.objects.filter(pk=attempt.pk).update(create_unknown_since=Now())
        request = _request(job, attempt, token)
    killpoint("create.before_call")
    try:
        machine = provider.create(request)
        killpoint("create.after_call")
    except (NoCapacity, Refused, AuthError, NoFunds, NotSent) as error:
        _answered(call, CallOutcome.DEFINITE_NO, error)
        if unsettled:
            # This call made nothing; what became of an earlier one is still not known.
            _unclear(job_id, lease, attempt, f"The same request again was refused: {error}", next_check_in=30.0)
        elif isinstance(error, NotSent):
            _not_reached(job_id, lease, attempt, error)
        else:
            _refused(job_id, lease, attempt, error)
    except Exception as error:  # noqa: BLE001
        # Whatever it was, the machine may exist now.
        _answered(call, CallOutcome.UNKNOWN, error)
        message = f"The provider's answer was not understood: {error}"
        _unclear(job_id, lease, attempt, message, next_check_in=30.0 if unsettled else 5.0)
    else:
        _answered(call, CallOutcome.OK, None)
        adopt(job_id, lease, attempt, machine)


def _unclear(job_id: UUID, lease: UUID, attempt: Attempt, message: str, *, next_check_in: float) -> None:
    """Nobody knows whether a machine exists: from here on only looking helps, or the same request again."""
    with fenced(job_id, lease) as job:
        if not job.events.filter(attempt=attempt.n, message=message).exists():
            record_event(job_id, EventType.WARNING, message, level="warning", attempt=attempt.n)
    release(job_id, lease, next_check_in=next_check_in)
    wake.poll(job_id, after=next_check_in)


def _not_reached(job_id: UUID, lease: UUID, attempt: Attempt, error: ProviderError) -> None:
    """Nothing was asked for: the same attempt asks again (pipeline.decide), until somebody cancels it."""
    Attempt.objects.filter(pk=attempt.pk).update(create_unknown_since=None)
    set_stage(job_id, "submitting", f"Trying again: {error}", detail=str(error), attempt=attempt.n)
    wait = max(NOT_REACHED_SECONDS, error.retry_after or 0)
    release(job_id, lease, next_check_in=wait)
    wake.poll(job_id, after=wait)


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
                gpu_type=machine.gpu_type[:120],
                price_per_hour=price,
                machine_seen_at=Coalesce("machine_seen_at", Now()),
                metered_until=_billed_since(attempt, machine),
                create_unknown_since=None,
                list_misses=0,
                first_missed_at=None,
            )
        )
        killpoint("adopt.before_event")
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
    poll_in = provider_class(attempt.provider).poll_seconds
    release(job_id, lease, next_check_in=poll_in)
    wake.poll(job_id, after=poll_in)


def _billed_since(attempt: Attempt, machine: Machine) -> datetime:
    """From when its time is counted: from the first moment the provider may bill it, as far as we can know."""
    if machine.created_at is None:
        return clock.now()
    # A provider's clock may be off: what it says counts only where it lies between our request and now.
    return min(max(machine.created_at, attempt.created_at), clock.now())


def _new_token(attempt: Attempt, provider: Provider) -> str:
    """The token the machine is born with: for the whole run, or where others could read it, for one exchange."""
    if provider.environment_is_public:
        token = new_token(BOOTSTRAP_TOKEN_PREFIX)
        Attempt.objects.filter(pk=attempt.pk).update(
            bootstrap_hash=token_hash(token), bootstrap_until=Now() + BOOTSTRAP_VALID, bootstrap_nonce=""
        )
    else:
        token = new_token(JOB_TOKEN_PREFIX)
        Attempt.objects.filter(pk=attempt.pk).update(token_hash=token_hash(token))
    return token


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
        max_seconds=limits.seconds_granted(job, attempt),
        base_model=job.base_model,
        hyperparameters=job.hyperparameters,
        dataset_rows=job.dataset.total_training_pairs or 0,
        dataset_url=runs.dataset_link(job.dataset).url,
        callback_url=callback_url(attempt),
        seed=int(job.pk.hex[:8], 16),
        fallbacks=[(one["type"], one.get("cloud", "")) for one in job.gpu_fallbacks],
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
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), EndReason.PROVIDER_ERROR)
    if isinstance(error, AuthError):
        accounts.refused(attempt.credential, error)
    with fenced(job_id, lease) as job:
        close_attempt(
            attempt, reason, f"The provider refused: {error}"[:300], never_created=True, error_message=str(error)
        )
        # A plain refusal will be repeated word for word, so only a lack of capacity is worth another try.
        end_job(job, attempt, reason, may_retry=isinstance(error, NoCapacity), retry_after=error.retry_after)


_REASONS = (
    (NoCapacity, EndReason.NO_CAPACITY),
    (AuthError, EndReason.PROVIDER_AUTH),
    (NoFunds, EndReason.NO_FUNDS),
)
