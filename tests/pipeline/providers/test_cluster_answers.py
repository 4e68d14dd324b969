"""What the status objects of clusters mean: many words, and nothing guessed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pipeline.providers.base import Machine, MachineRef, MachineState
from pipeline.providers.cluster import answers
from pipeline.states import EndReason
from tests.pipeline.providers.harness import is_sentence
from training.contract import Outcome, Stage

REF = MachineRef("stoker-c0ffee00-1-a1", "c-1")


def machine(**answer: Any) -> Machine:
    return answers.machine_of(REF, answer)


class TestWords:
    @pytest.mark.parametrize(
        ("word", "state", "outcome"),
        [
            ("queued", MachineState.STARTING, None),
            ("Pending", MachineState.STARTING, None),
            ("RUNNING", MachineState.RUNNING, None),
            ("in-progress", MachineState.RUNNING, None),
            ("cancelling", MachineState.RUNNING, None),
            ("succeeded", MachineState.GONE, Outcome.COMPLETED),
            ("Completed", MachineState.GONE, Outcome.COMPLETED),
            ("error", MachineState.GONE, Outcome.FAILED),
            ("timed out", MachineState.GONE, Outcome.FAILED),
            ("canceled", MachineState.GONE, Outcome.STOPPED),
            ("evicted", MachineState.GONE, Outcome.STOPPED),
            ("exploding", MachineState.UNKNOWN, None),
            ("", MachineState.UNKNOWN, None),
            (None, MachineState.UNKNOWN, None),
            (["running"], MachineState.UNKNOWN, None),
        ],
    )
    def test_words_are_understood_generously_and_never_guessed(
        self, word: Any, state: MachineState, outcome: Outcome | None
    ) -> None:
        seen = machine(status=word)
        assert (seen.state, seen.outcome) == (state, outcome)
        assert is_sentence(seen.detail)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            ("CUDA out of memory. Tried to allocate 2 GiB", EndReason.OUT_OF_MEMORY),
            ("torch.OutOfMemoryError", EndReason.OUT_OF_MEMORY),
            ({"message": "OOMKilled"}, EndReason.OUT_OF_MEMORY),
            ("The room was too small", ""),
            (None, ""),
            (7, ""),
        ],
    )
    def test_a_failure_is_quoted_and_its_cause_named_where_it_is_clear(self, error: Any, reason: str) -> None:
        seen = machine(status="failed", error=error)
        assert seen.reason == reason
        assert is_sentence(seen.detail)

    def test_an_answer_about_another_job_concludes_nothing(self) -> None:
        assert machine(status="failed", job_id="stoker-other").state is MachineState.UNKNOWN

    def test_text_of_others_fits_into_any_database(self) -> None:
        seen = machine(status="failed", error="bad\x00 \ud800 " + "x" * 10_000)
        assert "\x00" not in seen.detail
        assert len(seen.detail.encode()) < 2_100


class TestReports:
    def test_the_newest_values_become_a_point_of_the_current_step(self) -> None:
        report = machine(
            status="running", current_step=40, current_epoch=1.5, progress=20, metrics={"loss": 1.25, "note": None}
        ).report
        assert report is not None
        assert list(report.points) == [{"step": 40, "loss": 1.25, "epoch": 1.5, "progress": 20}]
        assert report.stage == Stage.TRAINING

    def test_a_step_that_was_told_is_not_told_again(self) -> None:
        for step in (40, 39, 0):
            assert (
                answers.report_of({"status": "running", "current_step": step, "metrics": {"loss": 1}}, 40).points == []
            )

    @pytest.mark.parametrize("step", [None, "40", -1, 1.5, math.nan, math.inf, True, 2**60])
    def test_without_a_usable_step_there_is_no_point(self, step: Any) -> None:
        assert answers.report_of({"status": "running", "current_step": step, "metrics": {"loss": 1}}, 0).points == []

    def test_values_have_the_step_they_name(self) -> None:
        body = {"status": "running", "current_step": 47, "metrics": {"step": 40, "loss": 1.0}}
        assert [point["step"] for point in answers.report_of(body, 0).points] == [40]

    def test_a_list_of_points_is_sorted_and_merged(self) -> None:
        rows = [{"step": 3, "loss": 3}, {"step": 1, "loss": 1}, {"step": 3, "eval_loss": 4}, "odd", {"loss": 9}]
        points = answers.report_of({"status": "running", "progress": 30, "metrics": rows}, 1).points
        assert list(points) == [{"step": 3, "loss": 3, "eval_loss": 4, "progress": 30}]

    @pytest.mark.parametrize("told", ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05", 1767323045])
    def test_a_time_of_creation_is_taken_where_it_is_told(self, told: Any) -> None:
        created = machine(status="running", created_at=told).created_at
        assert created is not None
        assert created.isoformat() == "2026-01-02T03:04:05+00:00"

    @pytest.mark.parametrize("told", ["yesterday", -1e300, math.nan, [], True])
    def test_an_odd_time_is_none(self, told: Any) -> None:
        assert machine(status="running", created_at=told).created_at is None
