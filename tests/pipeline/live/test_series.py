from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from django.db import transaction

from pipeline import ingest, transitions
from pipeline.live import series
from pipeline.live.series import Wanted, read_series, thin
from pipeline.models import Attempt, Job
from pipeline.points import Point, store_points
from tests.factories import make_running_job, make_user

pytestmark = pytest.mark.django_db


def store(job: Job, points: list[Point]) -> None:
    with transaction.atomic():
        store_points(job.pk, 1, transitions.allocate(job.pk), points)


def curve(job: Job, steps: int, **extra: float) -> None:
    at = datetime.now(UTC)
    store(job, [Point(s, at, {"loss": 3 * math.exp(-s / 2000) + (s == 3001) * 9}, dict(extra)) for s in range(steps)])


@pytest.fixture
def run() -> tuple[Job, Attempt]:
    job, attempt, _ = make_running_job(make_user())
    return job, attempt


def series_of(job: Job, **wanted: Any) -> dict[str, Any]:
    answer = read_series(job.pk, Wanted(**wanted))
    assert answer is not None
    msgspec.json.encode(answer)
    return answer


def test_a_short_history_comes_whole(run: tuple[Job, Attempt]) -> None:
    job, attempt = run
    ingest.record_metrics(attempt.pk, [{"step": 2, "loss": 1.5}, {"step": 1, "loss": 2.0}, {"step": 3, "eval_loss": 1}])
    answer = series_of(job)
    assert answer["series"] == {
        "loss": {"step": [1, 2], "value": [2.0, 1.5]},
        "eval_loss": {"step": [3], "value": [1.0]},
    }
    assert answer["total_steps_stored"] == 3
    assert answer["downsampled"] is False
    assert answer["nonfinite"] == []
    assert answer["seq"] == 1


def test_a_long_history_keeps_its_peak_and_both_ends(run: tuple[Job, Attempt]) -> None:
    job, _ = run
    curve(job, 8_000)
    answer = series_of(job, points=200)
    loss = answer["series"]["loss"]
    assert answer["downsampled"] is True
    assert answer["total_steps_stored"] == 8_000
    assert len(loss["step"]) == len(loss["value"]) == 200
    assert (loss["step"][0], loss["step"][-1]) == (0, 7_999)
    assert 3001 in loss["step"]
    assert loss["step"] == sorted(set(loss["step"]))


def test_a_window_is_read_at_its_own_resolution(run: tuple[Job, Attempt]) -> None:
    job, _ = run
    curve(job, 3_000)
    answer = series_of(job, points=500, first=1_000, last=1_299)
    assert answer["series"]["loss"]["step"] == list(range(1_000, 1_300))
    assert answer["downsampled"] is False
    assert answer["total_steps_stored"] == 3_000


def test_only_the_named_metrics_come(run: tuple[Job, Attempt]) -> None:
    job, attempt = run
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0, "grad_norm": 2.0, "mine": 3.0, "other": 4.0}])
    assert set(series_of(job)["series"]) == {"loss", "grad_norm", "mine", "other"}
    assert set(series_of(job, names=frozenset({"loss", "mine", "nobody"}))["series"]) == {"loss", "mine"}
    assert set(series_of(job, names=frozenset({"grad_norm"}))["series"]) == {"grad_norm"}


def test_own_names_are_thinned_too(run: tuple[Job, Attempt]) -> None:
    job, _ = run
    curve(job, 2_000, reward=0.25)
    answer = series_of(job, points=100, names=frozenset({"reward"}))
    assert len(answer["series"]["reward"]["step"]) == 100
    assert set(answer["series"]["reward"]["value"]) == {0.25}


def test_values_have_six_significant_digits(run: tuple[Job, Attempt]) -> None:
    job, attempt = run
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.23456789, "learning_rate": 0.000123456789, "mine": 1e300}])
    series = series_of(job)["series"]
    assert series["loss"]["value"] == [1.23457]
    assert series["learning_rate"]["value"] == [0.000123457]
    assert series["mine"]["value"] == [1e300]


def test_values_that_are_not_finite_are_flagged_and_bounded(run: tuple[Job, Attempt]) -> None:
    job, _ = run
    at = datetime.now(UTC)
    store(job, [Point(s, at, {"grad_norm": 1.0}, {}, {"loss": "NaN"}) for s in range(700)])
    answer = series_of(job)
    assert answer["nonfinite"][0] == {"step": 0, "name": "loss", "value": "NaN"}
    assert len(answer["nonfinite"]) == 500
    assert "loss" not in answer["series"]
    assert series_of(job, names=frozenset({"grad_norm"}))["nonfinite"] == []


def test_a_job_without_points_and_no_job_at_all(run: tuple[Job, Attempt]) -> None:
    job, _ = run
    assert series_of(job) == {
        "seq": 0,
        "series": {},
        "total_steps_stored": 0,
        "downsampled": False,
        "nonfinite": [],
    }
    assert read_series("00000000-0000-0000-0000-000000000000", Wanted()) is None  # type: ignore[arg-type]


def test_rounding_many_values_at_once_is_rounding_each() -> None:
    chance = np.random.default_rng(7)
    values = chance.normal(size=5_000) * 10.0 ** chance.integers(-40, 40, size=5_000)
    values[:8] = [0, 1, -1, 999_999.5, 0.1234565, 1e-300, -1e300, 100_000]
    rounded = series.rounded(values)
    each = [float(f"{value:.6g}") for value in values.tolist()]
    differing = [(a, b) for a, b in zip(rounded, each, strict=True) if a != b]
    # A value that lies half-way between two texts may go to either side.
    assert len(differing) < 10
    assert all(abs(a - b) <= 1.01e-5 * abs(b) for a, b in differing)


def test_thinning_keeps_everything_that_fits() -> None:
    steps, values = np.arange(10), np.ones(10)
    assert list(thin(steps, values, 10)) == list(range(10))
