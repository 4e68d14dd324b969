"""Old jobs get smaller and keep their look; young and live ones are left alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from pipeline import tasks
from pipeline.live.series import Wanted, read_series
from pipeline.models import Job, LogLine, MetricPoint
from pipeline.services.pruning import CURVE_POINTS, Pruned, prunable, prune
from tests.factories import make_running_job

pytestmark = pytest.mark.django_db
STEPS = 3000
PEAK, FLAGGED = 1234, 2001


@pytest.fixture
def old(owner: Any, world: Any) -> Job:
    """A job that ended forty days ago, with one peak, one flagged value, and an evaluation now and then."""
    job, *_ = make_running_job(owner.user)
    now = timezone.now()
    MetricPoint.objects.bulk_create(
        MetricPoint(
            job=job, step=step, seq=step, attempt=1, at=now, loss=50.0 if step == PEAK else 1 + 100 / (step + 100),
            eval_loss=0.5 if step % 500 == 0 else None, extra={"own": float(step)},
            nonfinite={"grad_norm": "NaN"} if step == FLAGGED else None,
        )
        for step in range(1, STEPS + 1)
    )  # fmt: skip
    LogLine.objects.bulk_create(LogLine(job=job, attempt=1, n=n, seq=n, at=now, text="x") for n in range(1, 8))
    Job.objects.filter(pk=job.pk).update(
        status="failed", reason="vanished", completed_at=Now() - timedelta(days=40), final_cost=0
    )
    return job


def test_curves_keep_their_look_and_logs_go(old: Job) -> None:
    would = prune(old.pk, dry_run=True)
    assert MetricPoint.objects.count() == STEPS
    gone = prune(old.pk)
    assert gone == would
    assert gone.lines == 7
    left = set(old.metric_points.values_list("step", flat=True))
    assert len(left) == STEPS - gone.points < 3 * CURVE_POINTS
    evaluated = set(range(500, STEPS + 1, 500))
    assert {1, STEPS, PEAK, FLAGGED} | evaluated <= left
    curve = read_series(old.pk, Wanted(points=CURVE_POINTS))
    assert curve is not None
    assert max(curve["series"]["loss"]["value"]) == 50
    assert not LogLine.objects.exists()
    event = old.events.get(data__what="pruned")
    assert event.data == {"what": "pruned", "points": gone.points, "lines": 7}


def test_it_is_done_once(old: Job) -> None:
    prune(old.pk)
    assert prune(old.pk) == Pruned()
    assert not prunable(timedelta(days=1)).exists()


def test_only_jobs_that_ended_long_ago_are_taken(old: Job, owner: Any) -> None:
    live, *_ = make_running_job(owner.user)
    assert list(prunable(timedelta(days=39))) == [old]
    assert not prunable(timedelta(days=41)).exists()
    assert prune(live.pk) == Pruned()
    assert Job.objects.get(pk=live.pk).pruned_at is None


def test_nothing_goes_by_itself_unless_the_installation_says_so(old: Job, settings: Any) -> None:
    assert settings.STOKER_KEEP_METRICS_DAYS == 0
    assert tasks.prune_due() == 0
    assert MetricPoint.objects.count() == STEPS
    settings.STOKER_KEEP_METRICS_DAYS = 30
    assert tasks.prune_due() == 1
    assert tasks.prune_due() == 0


def test_a_job_without_points_is_noted_and_told_nothing(old: Job) -> None:
    MetricPoint.objects.all().delete()
    LogLine.objects.all().delete()
    assert prune(old.pk) == Pruned()
    assert Job.objects.get(pk=old.pk).pruned_at is not None
    assert not old.events.filter(data__what="pruned").exists()
