from __future__ import annotations

import json
import math
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from pipeline.models import Job, MetricPoint
from pipeline.points import merge_points, parse_point, store_points, to_number
from tests.factories import make_running_job, make_user
from tests.fakes.provider import World

NOW = timezone.now()
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(anything)
def test_no_json_value_breaks_the_parser(value: Any) -> None:
    point, problems = parse_point(value, NOW)
    assert point is not None or problems


@given(st.dictionaries(st.sampled_from(["loss", "my/metric", "x" * 65, "1a", "", "epoch"]), anything))
def test_what_is_stored_is_finite_and_named_properly(values: dict[str, Any]) -> None:
    point, _ = parse_point({"step": 1} | values, NOW)
    assert point is not None
    assert all(math.isfinite(number) for number in point.finite.values())
    assert not point.finite.keys() & point.nonfinite.keys()
    json.dumps(point.extra, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (float("nan"), "NaN"),
        ("nan", "NaN"),
        ("-Infinity", "-Infinity"),
        (1e999, "Infinity"),
        (10**400, "Infinity"),
        (-(10**400), "-Infinity"),
        (True, None),
        ("12", None),
        ([], None),
    ],
    ids=str,
)
def test_numbers(value: Any, expected: Any) -> None:
    assert to_number(value) == expected


@pytest.mark.parametrize("step", [None, -1, 1.5, "3", True, 2**60, float("nan"), []], ids=str)
def test_a_point_without_a_step_is_refused_with_a_sentence(step: Any) -> None:
    point, problems = parse_point({"step": step, "loss": 1.0}, NOW)
    assert point is None
    assert "step" in problems[0]


@pytest.mark.django_db
class TestStoring:
    def test_the_same_points_again_change_nothing(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        for seq in (1, 2):
            store(job, seq, {"step": 1, "loss": 2.0, "mine": 3}, {"step": 2, "loss": 1.0})
        assert rows(job) == [(1, 2.0, {"mine": 3.0}), (2, 1.0, None)]

    def test_pieces_of_one_step_become_one_row(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        store(job, 1, {"step": 5, "loss": 2.0, "a": 1})
        store(job, 2, {"step": 5, "eval_loss": 2.5, "b": 2})
        point = MetricPoint.objects.get(job=job)
        assert (point.loss, point.eval_loss, point.extra, point.seq) == (2.0, 2.5, {"a": 1.0, "b": 2.0}, 2)

    def test_a_flagged_value_costs_neither_point_nor_batch(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        store(job, 1, {"step": 1, "loss": float("nan"), "grad_norm": 1.0, "mine": "inf"}, {"step": 2, "loss": 1.0})
        first = MetricPoint.objects.get(job=job, step=1)
        assert (first.loss, first.grad_norm, first.nonfinite) == (None, 1.0, {"loss": "NaN", "mine": "Infinity"})
        assert MetricPoint.objects.get(job=job, step=2).loss == 1.0

    def test_the_last_word_about_a_name_counts(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        store(job, 1, {"step": 1, "loss": float("nan"), "mine": 1})
        store(job, 2, {"step": 1, "loss": 0.5, "mine": float("inf")})
        point = MetricPoint.objects.get(job=job)
        assert (point.loss, point.extra, point.nonfinite) == (0.5, None, {"mine": "Infinity"})
        store(job, 3, {"step": 1, "loss": float("-inf"), "mine": 2})
        point.refresh_from_db()
        assert (point.loss, point.extra, point.nonfinite) == (None, {"mine": 2.0}, {"loss": "-Infinity"})

    def test_a_later_attempt_replaces_the_steps_it_repeats_and_an_earlier_one_cannot(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        store(job, 1, {"step": 1, "loss": 2.0, "grad_norm": 9.0})
        store(job, 2, {"step": 1, "loss": 3.0}, attempt=2)
        store(job, 3, {"step": 1, "loss": 7.0}, attempt=1)
        point = MetricPoint.objects.get(job=job)
        assert (point.attempt, point.loss, point.grad_norm) == (2, 3.0, None)

    def test_repeats_within_a_batch_are_merged(self, world: World) -> None:
        job, _, _ = make_running_job(make_user())
        store(job, 1, {"step": 3, "loss": 2.0}, {"step": 1, "loss": 9.0}, {"step": 3, "loss": 1.0, "eval_loss": 4.0})
        assert rows(job) == [(1, 9.0, None), (3, 1.0, None)]


def store(job: Job, seq: int, *data: dict[str, Any], attempt: int = 1) -> None:
    points = [point for one in data if (point := parse_point(one, NOW)[0])]
    store_points(job.pk, attempt, seq, merge_points(points))


def rows(job: Job) -> list[tuple[Any, ...]]:
    return list(MetricPoint.objects.filter(job=job).order_by("step").values_list("step", "loss", "extra"))
