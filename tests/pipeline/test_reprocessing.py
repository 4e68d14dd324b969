"""What follows from an ended job's rows is worked out anew; what is right is left alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.core.files.storage import storages
from django.db.models.functions import Now

from pipeline.models import CostRecord, Job
from pipeline.services.errors import Conflict
from pipeline.services.reprocessing import reprocess
from tests.factories import make_running_job
from tests.pipeline.api.conftest import fill

pytestmark = pytest.mark.django_db


@pytest.fixture
def job(owner: Any, world: Any) -> Job:
    """An ended job whose derived columns are as they should be."""
    job, *_ = make_running_job(owner.user)
    fill(job)
    Job.objects.filter(pk=job.pk).update(
        status="completed", reason="completed", completed_at=Now(), final_cost="0.06", current_cost="0.06",
        progress=100, current_step=4, artifact=job.artifacts.get(),
        current_metrics={"loss": "NaN", "entropy": 0.5, "gpu_utilization": 93.0},
    )  # fmt: skip
    job.refresh_from_db()
    return job


def test_nothing_is_written_where_all_is_right(job: Job) -> None:
    found = reprocess(job.pk)
    assert (found.mended, found.problems) == ([], [])
    assert Job.objects.get(pk=job.pk).event_seq == job.event_seq


def test_what_is_wrong_is_mended_once(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(
        current_metrics={"loss": 9.0, "gpu_utilization": 93.0}, current_step=0, progress=12, artifact=None,
        current_cost="5", final_cost="7",
    )  # fmt: skip
    dry = reprocess(job.pk, dry_run=True)
    assert Job.objects.get(pk=job.pk).current_step == 0
    found = reprocess(job.pk, actor="olga")
    assert found == dry
    assert len(found.mended) == 5
    mended = Job.objects.get(pk=job.pk)
    assert mended.current_metrics == {"loss": "NaN", "entropy": 0.5, "gpu_utilization": 93.0}
    assert (mended.current_step, mended.progress, mended.artifact_id) == (4, 100, job.artifact_id)
    assert mended.current_cost == mended.final_cost == Decimal("0.06")
    assert mended.events.get(data__what="reprocessed").actor == "olga"
    assert reprocess(job.pk).mended == []


def test_the_newest_value_of_each_name_counts(job: Job) -> None:
    job.metric_points.create(step=9, seq=9, attempt=1, at="2026-01-01T00:00Z", loss=0.25, epoch=2.0)
    reprocess(job.pk)
    job.refresh_from_db()
    assert job.current_metrics["loss"] == 0.25
    assert job.current_metrics["entropy"] == 0.5
    assert (job.current_step, job.current_epoch) == (9, 2.0)


def test_files_that_are_missing_or_changed_are_told(job: Job) -> None:
    artifact = job.artifacts.get()
    assert reprocess(job.pk, checksums=True).problems == [
        "The file of adapter.zip is not the one that was stored: its checksum differs."
    ]
    job.artifacts.update(size_bytes=8)
    assert reprocess(job.pk).problems == ["The file of adapter.zip has 7 bytes; 8 were stored."]
    storages["artifacts"].delete(artifact.path)
    assert reprocess(job.pk).problems == ["The file of adapter.zip is not in the store any more."]


def test_an_active_job_is_left_alone(owner: Any, world: Any) -> None:
    job, *_ = make_running_job(owner.user)
    with pytest.raises(Conflict, match="Only a job that has ended"):
        reprocess(job.pk)


def test_costs_of_invoices_do_not_count(job: Job) -> None:
    row = CostRecord.objects.get()
    CostRecord.objects.create(
        job=job, attempt=row.attempt, kind="invoiced", period_start=row.period_start, period_end=row.period_end,
        seconds=60, price_per_hour=60, amount=9,
    )  # fmt: skip
    assert reprocess(job.pk).mended == []
