"""Working out anew what follows from the rows of an ended job: its cost, its last numbers, its adapter, its files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core.files.storage import storages
from django.db import connection, transaction

from pipeline import costs
from pipeline.models import Artifact, EventType, Job
from pipeline.models.artifacts import ArtifactKind, ArtifactState
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.services.errors import Conflict
from pipeline.states import JobStatus
from pipeline.transitions import record_event

CHUNK = 1 << 20


@dataclass
class Found:
    """What was not as it should be, as sentences: `mended` by this, and `problems` that nothing here can mend."""

    mended: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def reprocess(job_id: UUID, *, actor: str = "", dry_run: bool = False, checksums: bool = False) -> Found:
    """Set what is derived to what the job's rows say. With `dry_run` nothing is written; `checksums` reads each file.

    Safe to repeat: a second time finds nothing to mend. Raise Conflict while the job is active or was never started.
    """
    found = Found()
    files = list(_wrong_files(job_id, checksums=checksums))  # the store is asked without a lock on anything
    with transaction.atomic():
        job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
        if not job.has_ended:
            raise Conflict("Only a job that has ended can be reprocessed; until then its numbers move.", code="active")
        if cost := next(costs.differences(job_id), None):
            found.mended.append(f"Its cost was ${cost.said}; its records say ${cost.recorded}.")
        fields = {name: value for name, value in _derived(job).items() if getattr(job, name) != value}
        found.mended += [f"{_WORDS[name]} did not follow from what is stored." for name in fields]
        if found.mended and not dry_run:
            if cost:
                costs.rebuild(job_id)
            Job.objects.filter(pk=job_id).update(**fields)
            message = "Worked out anew from what is stored. " + " ".join(found.mended)
            record_event(job_id, EventType.WARNING, message, data={"what": "reprocessed"}, actor=actor)
    found.problems = files
    return found


_WORDS = {
    "current_metrics": "The last value of each metric",
    "current_step": "The last step",
    "current_epoch": "The last epoch",
    "progress": "The progress",
    "artifact_id": "The adapter that is offered",
}


def _derived(job: Job) -> dict[str, Any]:
    """The columns of an ended job that follow from other rows, as they should be."""
    adapter = (
        Artifact.objects.filter(job=job, kind=ArtifactKind.ADAPTER, state=ArtifactState.STORED)
        .order_by("-created_at")
        .values_list("pk", flat=True)
        .first()
    )
    fields: dict[str, Any] = {"artifact_id": adapter}
    newest = _newest_values(job.pk)
    if newest:
        step = job.metric_points.order_by("-step").values_list("step", flat=True)[0]
        # Heartbeats tell numbers, too, that are in no point: they stay.
        fields["current_metrics"] = job.current_metrics | newest
        fields["current_step"] = step
        if isinstance(epoch := newest.get("epoch"), float):
            fields["current_epoch"] = epoch
        if job.status != JobStatus.COMPLETED and "progress" not in newest and job.total_steps:
            fields["progress"] = min(100.0 * step / job.total_steps, 100.0)
    if job.status == JobStatus.COMPLETED:
        fields["progress"] = 100.0
    return fields


def _newest_values(job_id: UUID) -> dict[str, float | str]:
    """The value of each metric at the last step that has one; the name of it where it was not finite."""
    columns = ", ".join(f"('{name}', {name})" for name in METRIC_COLUMNS)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT ON (name) name, value, word FROM (
                SELECT step, one.name, one.value, NULL AS word
                FROM pipeline_metricpoint, LATERAL (VALUES {columns}) one (name, value)
                WHERE job_id = %(job)s AND one.value IS NOT NULL
                UNION ALL
                SELECT step, own.key, own.value::float8, NULL
                FROM pipeline_metricpoint, jsonb_each_text(extra) own WHERE job_id = %(job)s
                UNION ALL
                SELECT step, flag.key, NULL, flag.value
                FROM pipeline_metricpoint, jsonb_each_text(nonfinite) flag WHERE job_id = %(job)s
            ) AS told ORDER BY name, step DESC""",  # noqa: S608 - column names are constants
            {"job": job_id},
        )
        return {name: value if word is None else word for name, value, word in cursor.fetchall()}


def _wrong_files(job_id: UUID, *, checksums: bool) -> Iterator[str]:
    store = storages["artifacts"]
    for one in Artifact.objects.filter(job=job_id, state=ArtifactState.STORED).order_by("created_at"):
        if not store.exists(one.path):
            yield f"The file of {one.name} is not in the store any more."
        elif (size := store.size(one.path)) != one.size_bytes:
            yield f"The file of {one.name} has {size} bytes; {one.size_bytes} were stored."
        elif checksums and _digest(one.path) != one.sha256:
            yield f"The file of {one.name} is not the one that was stored: its checksum differs."


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    with storages["artifacts"].open(path) as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
