"""The parts of a run that are not telemetry: its spec, the files it leaves, and its last word."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from datasets import storage
from datasets.models import Dataset
from pipeline import ingest, transitions, wake
from pipeline.limits import seconds_granted
from pipeline.models import Artifact, ArtifactKind, ArtifactState, Attempt, EventType, Job
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.states import EndReason
from training.contract import DataLink, FailureReason, Limits, Outcome, ResumePoint, RunSpec

ARTIFACTS = "artifacts"  # the storage alias
DATASET_LINK_VALID = timedelta(hours=24)
UPLOAD_LINK_VALID = timedelta(hours=6)
MAX_ARTIFACT_BYTES = 50 * 1024**3
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class NotYet(Conflict):
    """The program said its last word too early; `extra` tells it what to send first."""

    def __init__(self, message: str, code: str, **extra: Any):
        super().__init__(message, code=code)
        self.extra = extra


def build_spec(attempt: Attempt) -> RunSpec:
    """Everything the program needs, made when it asks: the links are fresh, and its first call is noted."""
    job = Job.objects.select_related("dataset", "eval_dataset", "resume_from").get(pk=attempt.job_id)
    Attempt.objects.filter(pk=attempt.pk).update(
        first_contact_at=Coalesce("first_contact_at", Now()), last_seen_at=Now()
    )
    resume = _resume_point(job)
    if resume is not None:
        _say_resumed(attempt, resume.step)
    return RunSpec(
        job_id=str(job.pk),
        attempt=attempt.n,
        name=job.name,
        base_model=job.base_model,
        dataset=dataset_link(job.dataset),
        eval_dataset=dataset_link(job.eval_dataset) if job.eval_dataset else None,
        hyperparameters=job.hyperparameters,
        limits=Limits(max_seconds=seconds_granted(job, attempt)),
        resume=resume,
    )


def _say_resumed(attempt: Attempt, step: int) -> None:
    """Once for an attempt, however often its program asks for the spec."""
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=attempt.job_id)
        if not job.events.filter(attempt=attempt.n, data__what="resumed").exists():
            message = f"Goes on from the checkpoint of step {step}."
            data = {"what": "resumed", "step": step}
            transitions.record_event(job.pk, EventType.CHECKPOINT, message, data=data, attempt=attempt.n)


def newest_checkpoint(job: Job) -> Artifact | None:
    """The stored checkpoint that is furthest along, of any attempt."""
    return (
        job.artifacts.filter(kind=ArtifactKind.CHECKPOINT, state=ArtifactState.STORED)
        .order_by("-step", "-stored_at")
        .first()
    )


def _resume_point(job: Job) -> ResumePoint | None:
    """Where the program goes on: at this job's newest checkpoint, else at the one the job was to begin with."""
    checkpoint = newest_checkpoint(job) or job.resume_from
    if checkpoint is None:
        return None
    url = storage.signed_url(ARTIFACTS, checkpoint.path, expires=DATASET_LINK_VALID, filename=checkpoint.name)
    return ResumePoint(url, checkpoint.sha256, checkpoint.step)


def announce_artifact(attempt: Attempt, data: Any) -> tuple[Artifact, dict[str, Any] | None]:
    """Note a file that the program is about to upload; answer with where to, or None when it is stored already."""
    if not isinstance(data, dict):
        raise InvalidInput([FieldError("", "Send an object with kind, name, step, size_bytes and sha256.")])
    kind: Any = data.get("kind")
    name, step = data.get("name"), data.get("step", 0)
    size, sha256 = data.get("size_bytes"), data.get("sha256")
    errors = []
    if kind not in ArtifactKind.values:
        errors.append(FieldError("kind", f"One of {', '.join(ArtifactKind.values)}."))
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        errors.append(FieldError("name", "A plain file name of letters, digits, dots, dashes and underscores."))
    if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MAX_ARTIFACT_BYTES:
        errors.append(FieldError("size_bytes", f"A whole number of bytes from 1 to {MAX_ARTIFACT_BYTES}."))
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        errors.append(FieldError("sha256", "The SHA-256 of the file, 64 lower-case hex digits."))
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**31:
        errors.append(FieldError("step", "The step the file belongs to, a whole number."))
    if errors:
        raise InvalidInput(errors)
    assert isinstance(name, str)
    assert isinstance(sha256, str)
    assert isinstance(size, int)
    with transaction.atomic():
        Job.objects.select_for_update(of=("self",)).get(pk=attempt.job_id)
        artifact = Artifact.objects.filter(attempt=attempt, kind=kind, name=name).first()
        if artifact is None:
            artifact = Artifact(job_id=attempt.job_id, attempt=attempt, kind=kind, name=name)
        if artifact.state == ArtifactState.STORED and artifact.sha256 != sha256:
            raise Conflict(f"{name} is already stored with other bytes.", code="already_stored")
        artifact.step, artifact.size_bytes, artifact.sha256 = step, size, sha256
        artifact.path = f"{attempt.job_id}/a{attempt.n}/{artifact.pk}/{name}"
        artifact.save()
    if artifact.state == ArtifactState.STORED:
        return artifact, None
    url = storage.signed_upload_url(ARTIFACTS, artifact.path, size, UPLOAD_LINK_VALID, sha256=sha256)
    return artifact, {"method": "PUT", "url": url, "headers": {}}


def complete_artifact(attempt: Attempt, artifact_id: UUID) -> Artifact:
    """Compare the stored bytes with what was announced. Only then does the file count."""
    artifact = Artifact.objects.filter(pk=artifact_id, attempt=attempt).first()
    if artifact is None:
        raise InvalidInput(
            [FieldError("id", "There is no such file of this attempt; announce it first.", "does_not_exist")]
        )
    if artifact.state == ArtifactState.STORED:
        return artifact
    try:
        size = storage.size_of(ARTIFACTS, artifact.path)
    except FileNotFoundError as error:
        message = "Nothing has been uploaded yet. PUT the file to the upload URL first."
        raise InvalidInput([FieldError("", message, "missing")]) from error
    if size != artifact.size_bytes or storage.sha256_of(ARTIFACTS, artifact.path) != artifact.sha256:
        message = (
            f"The stored file differs from the announced one ({size} of {artifact.size_bytes} bytes). Upload it again."
        )
        raise InvalidInput([FieldError("sha256", message, "mismatch")])
    with transaction.atomic():
        stored = Artifact.objects.filter(pk=artifact.pk, state=ArtifactState.UPLOADING).update(
            state=ArtifactState.STORED, stored_at=Now()
        )
        if stored:
            message = f"{artifact.get_kind_display()} {artifact.name} is stored and verified."
            data = {"artifact": str(artifact.pk), "kind": artifact.kind, "size_bytes": size, "step": artifact.step}
            transitions.record_event(attempt.job_id, EventType.ARTIFACT, message, data=data, attempt=attempt.n)
    artifact.refresh_from_db()
    return artifact


def finish(attempt: Attempt, data: Any) -> int:
    """Take the program's last word, if nothing is missing; answer how far its lines are stored. Repeats are fine.

    The job does not end here: it ends when the provider shows that the machine is gone.
    """
    outcome = data.get("outcome") if isinstance(data, dict) else None
    if outcome not in list(Outcome):
        raise InvalidInput([FieldError("outcome", f"One of {', '.join(Outcome)}.")])
    last_n = data.get("last_n")
    if not isinstance(last_n, int) or isinstance(last_n, bool) or last_n < 0:
        raise InvalidInput([FieldError("last_n", "The number of the last event line, 0 when there was none.")])
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=attempt.job_id)
        attempt.refresh_from_db()
        if attempt.outcome:
            return attempt.acked_n
        if not attempt.is_open:
            raise ingest.AttemptOver(attempt.name)
        if attempt.acked_n < last_n:
            message = f"Lines are stored up to {attempt.acked_n}, not {last_n}. Send the rest first."
            raise NotYet(message, "events_missing", acked=attempt.acked_n)
        if outcome == Outcome.COMPLETED and not _adapter_stored(attempt):
            raise NotYet("No adapter of this attempt is stored and verified. Upload it first.", "artifact_missing")
        reason = data.get("reason")
        Attempt.objects.filter(pk=attempt.pk).update(
            outcome=outcome,
            outcome_reason=reason if reason in list(FailureReason) and reason in EndReason.values else "",
            outcome_at=Now(),
            last_seen_at=Now(),
            error_message=ingest.plain_text(data.get("message"), 4_000),
            error_stack=ingest.plain_text(data.get("stack"), 60_000),
        )
        transitions.set_stage(job.pk, "releasing", f"The program said: {outcome}.", attempt=attempt.n)
        Job.objects.filter(pk=job.pk).update(next_check_at=Now())
    wake.poll(attempt.job_id)
    wake.poll(attempt.job_id, after=0.5)
    return attempt.acked_n


def _adapter_stored(attempt: Attempt) -> bool:
    return attempt.artifacts.filter(kind=ArtifactKind.ADAPTER, state=ArtifactState.STORED).exists()


def dataset_link(dataset: Dataset) -> DataLink:
    """A signed link to the file, made for the bucket it lies in."""
    return DataLink(
        url=storage.signed_url(
            dataset.storage_bucket, dataset.storage_path, expires=DATASET_LINK_VALID, filename=f"{dataset.pk}.jsonl"
        ),
        sha256=dataset.sha256,
        format=dataset.format,
        rows=dataset.row_count or 0,
        size_bytes=dataset.size_bytes,
    )
