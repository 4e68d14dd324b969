"""What people do with jobs: create, start, cancel. Called by API, pages, admin, commands and the demo."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models.functions import Now

from datasets.models import Dataset
from pipeline import accounts, estimates, holds, runs, wake
from pipeline.models import Artifact, EventType, Job, Preset
from pipeline.models.jobs import Desired
from pipeline.providers.base import AuthError, Offer, ProviderError
from pipeline.providers.registry import UnknownProvider, provider_names
from pipeline.services import rulebook
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.states import STOPS_BY_DECISION, EndReason, JobStatus
from pipeline.transitions import advance, record_event
from training import hyperparameters as table

# An id of the Hugging Face Hub: two plain parts, so it can never be a path or an option.
MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
MAX_DURATION = timedelta(days=14)


def create_job(owner: User, *, start: bool = False, **asked_for: Any) -> Job:
    """Save a job as `pending`, and queue it when `start`. The rest is what `draft` takes.

    Raise InvalidInput with everything that is wrong with it, Conflict when it may not start.
    """
    return save_job(draft(owner, **asked_for), start=start)


def save_job(job: Job, *, start: bool) -> Job:
    """Save what `draft` made. Asks nobody but the database. Raise Conflict when it may not start; nothing is saved."""
    actor = job.owner.get_username()
    with transaction.atomic():
        job.save(force_insert=True)
        rulebook.give(job, job.rules_to_give)
        record_event(job.pk, EventType.STATUS, "Saved.", data={"to": "pending"}, actor=actor)
        if start:
            start_job(job.pk, actor=actor)
    job.refresh_from_db()
    return job


def draft(
    owner: User,
    *,
    name: str,
    dataset: Dataset | None,
    base_model: str,
    provider: str = "local",
    gpu_type: str = "",
    gpu_count: int = 1,
    cloud: str = "",
    gpu_fallbacks: Sequence[Mapping[str, str]] = (),
    preset: Preset | None = None,
    hyperparameters: dict[str, Any] | None = None,
    eval_dataset: Dataset | None = None,
    budget_limit: Decimal | None = None,
    max_duration: int = 24 * 3600,
    priority: int = 0,
    max_attempts: int = 3,
    resume_from: Artifact | None = None,
    rules: Sequence[Mapping[str, Any]] | None = None,
) -> Job:
    """The job that would be made, checked and estimated, not saved. Raise InvalidInput with all that is wrong.

    `rules` None stands for the defaults of the owner and the preset.
    """
    errors: list[FieldError] = []
    if not name.strip():
        errors.append(FieldError("name", "Give the job a name, so that you find it again.", "required"))
    if not MODEL_ID.fullmatch(base_model) or ".." in base_model:
        errors.append(
            FieldError("base_model", "Name the base model as on the Hugging Face Hub: organisation/model.", "invalid")
        )
    errors += _dataset_errors(owner, dataset, eval_dataset)
    values, problems = table.validate(_merged(preset, hyperparameters or {}))
    errors += [FieldError(f"hyperparameters.{key}", sentence, "invalid") for key, sentence in problems]
    offer, offer_errors = choose_offer(owner, provider, gpu_type, gpu_count, cloud, gpu_fallbacks)
    errors += offer_errors
    if resume_from is not None and (resume_from.job.owner_id != owner.pk or resume_from.state != "stored"):
        errors.append(FieldError("resume_from", "There is no such checkpoint.", "does_not_exist"))
    if budget_limit is not None and budget_limit <= 0:
        errors.append(
            FieldError("budget_limit", "A budget is more than 0 US dollars; leave it empty for none.", "invalid")
        )
    if not 60 <= max_duration <= MAX_DURATION.total_seconds():
        errors.append(FieldError("max_duration", "The maximum duration is between 60 seconds and 14 days.", "invalid"))
    if not -100 <= priority <= 100:
        errors.append(FieldError("priority", "The priority is a whole number from -100 to 100.", "invalid"))
    if not 1 <= max_attempts <= 20:
        errors.append(FieldError("retry_policy.max_attempts", "Allow between 1 and 20 attempts.", "invalid"))
    errors += rulebook.check_all(rules or ())
    if errors or dataset is None or offer is None:
        raise InvalidInput(errors)
    job = Job(
        owner=owner,
        name=name.strip(),
        dataset=dataset,
        eval_dataset=eval_dataset,
        base_model=base_model,
        preset=preset,
        hyperparameters=values,
        provider=provider,
        gpu_type=offer.type,
        gpu_count=gpu_count,
        cloud=cloud or offer.cloud,  # the one whose price was told
        gpu_fallbacks=[{"type": one["type"], "cloud": one.get("cloud", cloud)} for one in gpu_fallbacks],
        price_per_hour=offer.price_per_hour * gpu_count,
        budget_limit=budget_limit,
        max_duration=max_duration,
        priority=priority,
        max_attempts=max_attempts,
        resume_from=resume_from,
    )
    told = estimates.estimate(job)
    job.estimated_cost, job.estimate = told.total, told.as_json()
    job.rules_to_give = rulebook.for_new_job(owner, preset) if rules is None else rules
    return job


def start_job(job_id: UUID, *, actor: str = "") -> None:
    """Queue a saved job and wake its submission. From here on it holds what it may cost against its owner's month.

    Raise Conflict when it was started before, or when the month does not leave enough for it.
    """
    started = Conflict("This job was already started.", code="already_started")
    with transaction.atomic():
        budget = holds.locked_budget(Job.objects.values_list("owner_id", flat=True).get(pk=job_id))
        job = Job.objects.get(pk=job_id)
        if job.status != JobStatus.PENDING:
            raise started
        moved = advance(
            job_id,
            JobStatus.QUEUED,
            "Queued.",
            stage="waiting",
            only_from={JobStatus.PENDING},
            actor=actor,
            queued_at=Now(),
            cost_limit=holds.admit(job, budget),
        )
        if not moved:
            raise started
        wake.submit(job_id)


def retry_job(job: Job) -> Job:
    """Start a new job with everything an ended one was made with. The ended one keeps its history as it is.

    Raise Conflict while `job` is active, InvalidInput when what it was made with is no longer allowed.
    """
    return save_job(draft_of_retry(job), start=True)


def draft_of_retry(job: Job) -> Job:
    """The job that `retry_job` would start, not saved."""
    if not job.has_ended:
        raise Conflict("This job has not ended yet, so there is nothing to try again.", code="not_ended")
    return draft(job.owner, **made_with(job), resume_from=job.resume_from)


def resume_job(job: Job, checkpoint: Artifact | None = None) -> Job:
    """Start a new job that goes on where an ended one has a stored checkpoint: `checkpoint`, else its newest.

    Raise Conflict while `job` is active or when it left no checkpoint.
    """
    return save_job(draft_of_resumption(job, checkpoint), start=True)


def draft_of_resumption(job: Job, checkpoint: Artifact | None = None) -> Job:
    """The job that `resume_job` would start, not saved."""
    if not job.has_ended:
        raise Conflict("This job has not ended yet. It goes on by itself when its machine is lost.", code="not_ended")
    chosen = checkpoint or runs.newest_checkpoint(job)
    if chosen is None or chosen.job_id != job.pk or chosen.kind != "checkpoint" or chosen.state != "stored":
        raise Conflict("This job left no stored checkpoint to go on from. Try it again instead.", code="no_checkpoint")
    return draft(job.owner, **made_with(job), resume_from=chosen)


def made_with(job: Job) -> dict[str, Any]:
    """What a job was made with, as arguments of `create_job`."""
    return {
        "name": job.name,
        "dataset": job.dataset,
        "eval_dataset": job.eval_dataset,
        "base_model": job.base_model,
        "preset": job.preset,
        "hyperparameters": job.hyperparameters,
        "provider": job.provider,
        "gpu_type": job.gpu_type,
        "gpu_count": job.gpu_count,
        "cloud": job.cloud,
        "gpu_fallbacks": job.gpu_fallbacks,
        "budget_limit": job.budget_limit,
        "max_duration": job.max_duration,
        "priority": job.priority,
        "max_attempts": job.max_attempts,
        "rules": [rulebook.as_given(rule) for rule in job.rules.all()],
    }


def request_checkpoint(job_id: UUID, *, actor: str = "", message: str = "A checkpoint was asked for.") -> bool:
    """Ask the program for a checkpoint without a stop. False: it was asked for. Raise Conflict unless it runs."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        if job.status != JobStatus.RUNNING:
            raise Conflict("Only a running job can save a checkpoint.", code="not_running")
        if job.save_requested_at is not None:
            return False
        Job.objects.filter(pk=job_id).update(save_requested_at=Now())
        record_event(job_id, EventType.CHECKPOINT, message, data={"what": "requested"}, actor=actor)
    return True


def request_cancel(job_id: UUID, *, actor: str = "") -> bool:
    """Order a job's end for its owner. False: it was ordered before. Raise Conflict when nothing is there to end."""
    return request_stop(job_id, EndReason.CANCELLED_BY_USER, "Cancel requested.", actor=actor)


def request_stop(job_id: UUID, reason: EndReason, message: str, *, actor: str = "", detail: str = "") -> bool:
    """Make a job want to stop, for `reason`, and wake the task that does it. False: it wanted that before.

    `detail` is what its page says beside the reason.

    A decision of a person or of their limits makes the job `cancelling`; a fault (no contact, no start) leaves the
    status, because the job may be tried again. Only the first reason counts, except that a decision outranks a fault.
    """
    by_decision = reason in STOPS_BY_DECISION
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        if job.status == JobStatus.PENDING:
            raise Conflict(
                "This job was never started, so there is nothing to cancel. Delete it instead.", code="not_started"
            )
        if job.has_ended:
            raise Conflict(f"This job has already ended: {job.get_status_display().lower()}.", code="already_ended")
        if job.status == JobStatus.CANCELLING or (job.desired == Desired.STOP and not by_decision):
            return False
        attempt = job.attempts.order_by("-n").first()
        if attempt is not None and attempt.is_open and attempt.outcome == "completed":
            raise Conflict("Training has just finished; the job is about to be completed.", code="already_finished")
        fields: dict[str, Any] = {
            "desired": Desired.STOP, "stop_reason": reason, "stop_requested_at": Now(), "stop_detail": detail[:300]
        }  # fmt: skip
        if by_decision:
            advance(
                job_id, JobStatus.CANCELLING, message, stage="stopping", actor=actor, data={"stop": reason}, **fields
            )
        else:
            Job.objects.filter(pk=job_id).update(**fields, next_check_at=Now(), current_stage="stopping")
            record_event(job_id, EventType.STOP, message, level="warning", data={"stop": reason})
    wake.cancel(job_id)
    return True


def delete_job(job_id: UUID) -> None:
    """Remove a job that never started or has ended. Raise Conflict while something may still run for it."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        if job.is_active:
            raise Conflict("This job is active. Cancel it first and delete it when it has ended.", code="active")
        job.delete()


def _merged(preset: Preset | None, overrides: dict[str, Any]) -> dict[str, Any]:
    return table.defaults() | (preset.hyperparameters if preset else {}) | overrides


def _dataset_errors(owner: User, dataset: Dataset | None, held_out: Dataset | None) -> list[FieldError]:
    errors = []
    for field, one in (("dataset", dataset), ("eval_dataset", held_out)):
        if one is None:
            if field == "dataset":
                errors.append(FieldError(field, "Choose a dataset.", "required"))
        elif one.owner_id != owner.pk:
            errors.append(FieldError(field, "There is no such dataset.", "does_not_exist"))
        elif not one.training_ready:
            errors.append(
                FieldError(
                    field, f"“{one.name}” has not passed its check. Open it to see why, then choose again.", "not_ready"
                )
            )
    if held_out and dataset and not errors and held_out.validation_for_id != dataset.pk:
        errors.append(
            FieldError(
                "eval_dataset",
                f"Mark “{held_out.name}” as the validation set of “{dataset.name}” first; rows in both are then found.",
                "not_linked",
            )
        )
    return errors


def choose_offer(
    owner: User, provider: str, gpu_type: str, count: int, cloud: str, fallbacks: Sequence[Mapping[str, str]] = ()
) -> tuple[Offer | None, list[FieldError]]:
    """The offer that was asked for, or everything that is wrong with the request; its fallbacks are checked, too."""
    try:
        offers = accounts.provider_for(owner, provider).offers()
    except UnknownProvider:
        return None, [
            FieldError("gpu_config.provider", f"Choose a provider: {', '.join(provider_names())}.", "unknown")
        ]
    except AuthError as error:
        return None, [FieldError("gpu_config.provider", str(error), "no_account")]
    except ProviderError as error:
        return None, [FieldError("gpu_config.provider", f"{error} Try again in a minute.", "unavailable")]
    offer, errors = _matching(offers, gpu_type, count, cloud, "gpu_config")
    for index, one in enumerate(fallbacks):
        field = f"gpu_config.fallbacks.{index}"
        errors += _matching(offers, one.get("type", ""), count, one.get("cloud", cloud), field)[1]
    return offer, errors


def _matching(
    offers: Sequence[Offer], gpu_type: str, count: int, cloud: str, field: str
) -> tuple[Offer | None, list[FieldError]]:
    matching = [o for o in offers if o.type == gpu_type or not gpu_type]
    if cloud:
        matching = [o for o in matching if o.cloud in ("", cloud)]
    if not matching:
        types = ", ".join(sorted({o.type for o in offers}))
        return None, [FieldError(f"{field}.type", f"This provider has no such machine. It has: {types}.", "unknown")]
    if not 1 <= count <= matching[0].max_count:
        return None, [
            FieldError("gpu_config.count", f"Ask for 1 to {matching[0].max_count} of this machine.", "invalid")
        ]
    return matching[0], []
