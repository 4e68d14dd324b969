"""Rules as pure functions: what each kind concludes, and above all what it does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.rule_kinds import KINDS, RuleAction, RuleKind, number, sentence, validate
from pipeline.rules import Evaluation, Facts, Reading, Standing, State, Verdict, Window, judge

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def verdict(kind: RuleKind, facts: Facts, **parameters: Any) -> Verdict:
    values, errors = validate(kind, parameters)
    assert not errors
    return judge(kind, values, facts, NOW)


def series(name: str, *values: Any, first: int = 1) -> Facts:
    """A run that logged these values of a metric, a step each; a text stands for a value that is no number."""
    readings = [
        Reading(name, step, None, value) if isinstance(value, str) else Reading(name, step, float(value))
        for step, value in enumerate(values, first)
    ]
    return Facts(running=True, step=first + len(values) - 1, logged={name: 1}, readings=readings)


class TestLossNotFinite:
    kind = RuleKind.LOSS_NOT_FINITE

    @pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
    def test_fires_on_whatever_is_no_number(self, word):
        found = verdict(self.kind, series("loss", 2.0, 1.9, word, first=118))
        assert (found.state, found.saw, found.step) == (State.FIRED, f"loss {word} at step 120", 120)

    def test_fires_even_when_the_loss_came_back(self):
        assert verdict(self.kind, series("loss", "NaN", 2.0)).state is State.FIRED

    def test_numbers_of_any_size_are_numbers(self):
        found = verdict(self.kind, series("loss", 1e300))
        assert found.state is State.ARMED

    def test_a_run_without_a_loss_says_so(self):
        found = verdict(self.kind, Facts(running=True, logged={"reward": 1}))
        assert (found.state, found.saw) == (State.WAITING, "This run has not logged loss yet.")


class TestLossAbove:
    kind = RuleKind.LOSS_ABOVE

    def test_fires_above_the_limit_and_says_what_it_saw(self):
        found = verdict(self.kind, series("loss", 4, 8.31, 4, first=119), threshold=5)
        assert (found.state, found.saw, found.step) == (State.FIRED, "loss 8.31 at step 120, limit 5", 120)

    @pytest.mark.parametrize(
        ("values", "first", "state"),
        [
            ((5.0,), 200, State.ARMED),  # at the limit is not above it
            ((9.0,), 100, State.WAITING),  # the first steps do not count
            ((9.0,), 101, State.FIRED),
            (("Infinity",), 200, State.FIRED),
            (("NaN",), 200, State.ARMED),  # neither above nor below: another rule's business
            (("-Infinity",), 200, State.ARMED),
        ],
    )
    def test_table(self, values, first, state):
        assert verdict(self.kind, series("loss", *values, first=first), threshold=5, after_step=100).state is state

    def test_the_first_step_counts_where_none_is_left_out(self):
        assert verdict(self.kind, series("loss", 9, first=0), threshold=5, after_step=0).state is State.FIRED

    def test_says_which_metric_is_missing(self):
        found = verdict(self.kind, series("loss", 9), metric="eval_loss")
        assert (found.state, found.saw) == (State.WAITING, "This run has not logged eval_loss yet.")

    def test_nothing_new_keeps_what_was_seen(self):
        assert verdict(self.kind, Facts(running=True, step=300, logged={"loss": 1})) == Verdict(State.ARMED)


class TestMetricThreshold:
    kind = RuleKind.METRIC_THRESHOLD

    @pytest.mark.parametrize(
        ("values", "side", "points", "fires_at"),
        [
            ((1, 9, 9, 1), "above", 1, 2),
            ((1, 9, 9, 1), "above", 2, 3),
            ((1, 9, 1, 9), "above", 2, None),
            ((9, "NaN", 9), "above", 2, None),
            ((9, "Infinity", 9), "above", 3, 3),
            ((5, 5, 5), "above", 1, None),
            ((5, 4.9), "below", 1, 2),
            (("-Infinity",), "below", 1, 1),
            ((), "above", 1, None),
        ],
    )
    def test_table(self, values, side, points, fires_at):
        facts = series("grad_norm", *values)
        found = verdict(self.kind, facts, metric="grad_norm", side=side, threshold=5, points=points)
        assert (found.state is State.FIRED, found.step) == (fires_at is not None, fires_at)


def evaluations(*values: float, counts_from: int = 0) -> Facts:
    found = [Evaluation(50 * n, value, counts=n >= counts_from) for n, value in enumerate(values, 1)]
    return Facts(running=True, step=50 * len(values), logged={"eval_loss": 1}, evaluations=found)


class TestNoBetterEval:
    kind = RuleKind.NO_BETTER_EVAL

    @pytest.mark.parametrize(
        ("values", "parameters", "fires"),
        [
            ((2.0, 1.5, 1.2), {}, False),
            ((2.0, 1.2, 1.3, 1.25), {"evaluations": 2}, True),
            ((2.0, 1.2, 1.3, 1.1), {"evaluations": 2}, False),
            ((1.2, 1.2), {"evaluations": 1}, True),  # as good is not better
            ((1.200, 1.195, 1.191), {"evaluations": 2, "min_delta": 0.01}, True),
            (
                (1.200, 1.195, 1.189),
                {"evaluations": 2, "min_delta": 0.01},
                False,
            ),  # little by little, but in all enough
            ((0.5, 0.6, 0.6), {"evaluations": 2, "better": "higher"}, False),
            ((0.5, 0.6, 0.6, 0.59), {"evaluations": 2, "better": "higher"}, True),
            ((), {}, False),
        ],
    )
    def test_table(self, values, parameters, fires):
        assert (verdict(self.kind, evaluations(*values), **parameters).state is State.FIRED) is fires

    def test_names_the_best_step(self):
        found = verdict(self.kind, evaluations(2.0, 0.81234, 0.9, 0.95), evaluations=2)
        assert found.saw == "eval_loss 0.8123 at step 100 is the best, not beaten in 2 evaluations up to step 200"
        assert found.step == 200

    def test_what_came_before_it_was_armed_is_only_there_to_be_beaten(self):
        facts = evaluations(1.0, 1.1, 1.2, 1.3, counts_from=4)
        assert verdict(self.kind, facts, evaluations=2).state is State.ARMED
        assert verdict(self.kind, facts, evaluations=1).state is State.FIRED

    def test_a_run_that_evaluates_nothing_says_so(self):
        found = verdict(self.kind, series("loss", 1, 2, 3))
        assert (found.state, found.saw) == (State.WAITING, "This run has not logged eval_loss yet.")


def standing(
    minutes: float, *, step: int = 40, attempt: int = 1, looked: timedelta = timedelta(seconds=15)
) -> Standing:
    return Standing(attempt, step, NOW - minutes * MINUTE, NOW - looked)


class TestNoProgress:
    kind = RuleKind.NO_PROGRESS

    def judged(self, was: Standing | None, **facts: Any) -> Verdict:
        return verdict(self.kind, Facts(**({"running": True, "step": 40, "standing": was} | facts)), minutes=30)

    def test_fires_after_its_time(self):
        found = self.judged(standing(31))
        assert (found.state, found.saw) == (State.FIRED, "No new step for 31 minutes, the last was step 40")

    @pytest.mark.parametrize(
        ("was", "facts"),
        [
            (None, {}),  # seen for the first time
            (standing(31), {"step": 41}),
            (standing(31, step=90), {}),  # a resumed run goes back to an earlier step, which is a step
            (standing(31), {"attempt": 2}),  # a new attempt begins anew, also at the same step
            (standing(31), {"stage": "uploading"}),  # no step is to come
            (standing(31), {"stage": "preparing"}),
            (standing(31, looked=timedelta(minutes=20)), {}),  # nobody looked, so nobody knows
        ],
    )
    def test_the_time_begins_again(self, was, facts):
        found = self.judged(was, **facts)
        assert (found.state, found.standing_since) == (State.ARMED, NOW)

    def test_the_time_goes_on(self):
        found = self.judged(standing(29))
        assert (found.state, found.standing_since) == (State.ARMED, NOW - 29 * MINUTE)

    def test_a_retry_that_waits_is_no_standstill(self):
        found = self.judged(standing(500), running=False, stage="waiting_to_retry")
        assert (found.state, found.standing_since) == (State.ARMED, None)

    def test_an_evaluation_that_never_ends_is_one(self):
        assert self.judged(standing(31), stage="evaluating").state is State.FIRED


class TestGpuIdle:
    kind = RuleKind.GPU_IDLE

    def judged(self, window: Window | None, *, logged: bool = True) -> Verdict:
        facts = Facts(running=True, logged={"gpu_utilization": 3} if logged else {}, window=window)
        return verdict(self.kind, facts, percent=10, minutes=15)

    def test_fires_when_the_whole_window_was_idle(self):
        found = self.judged(Window(4.04, 15 * MINUTE, MINUTE, 300))
        assert (found.state, found.saw) == (State.FIRED, "GPU use at most 4 % for 15 minutes, up to step 300")

    @pytest.mark.parametrize(
        ("window", "state"),
        [
            (Window(10.0, 16 * MINUTE, MINUTE, 300), State.ARMED),  # once at the limit is enough
            (Window(4.0, 14 * MINUTE, MINUTE, 300), State.ARMED),  # not long enough yet
            (Window(4.0, 16 * MINUTE, 6 * MINUTE, 300), State.WAITING),  # a hole in which it may have worked
            (Window(95.0, 16 * MINUTE, 6 * MINUTE, 300), State.ARMED),  # that much is known in spite of the hole
            (None, State.ARMED),
        ],
    )
    def test_table(self, window, state):
        assert self.judged(window).state is state

    def test_a_machine_without_a_gpu_says_so(self):
        found = self.judged(None, logged=False)
        assert (found.state, found.saw) == (State.WAITING, "This run has not logged gpu_utilization yet.")


class TestCostAbove:
    @pytest.mark.parametrize(("cost", "state"), [("9.99", State.ARMED), ("10", State.ARMED), ("10.01", State.FIRED)])
    def test_table(self, cost, state):
        found = verdict(RuleKind.COST_ABOVE, Facts(running=True, cost=Decimal(cost)), amount=10)
        assert found.state is state

    def test_counts_while_the_machine_starts(self):
        found = verdict(RuleKind.COST_ABOVE, Facts(running=False, cost=Decimal("12.5")), amount=10)
        assert (found.state, found.saw) == (State.FIRED, "$12.50 spent, limit $10.00")


@pytest.mark.parametrize("kind", [kind for kind in RuleKind if kind is not RuleKind.COST_ABOVE])
def test_a_job_that_does_not_train_is_not_judged(kind):
    facts = Facts(
        running=False, logged={"loss": 1, "eval_loss": 1, "grad_norm": 1, "gpu_utilization": 1},
        readings=[Reading("loss", 500, None, "NaN"), Reading("grad_norm", 500, 1e9)],
        evaluations=evaluations(1, 2, 3, 4, 5, 6).evaluations, window=Window(0, 90 * MINUTE, MINUTE, 1),
        standing=standing(10_000),
    )  # fmt: skip
    assert verdict(kind, facts) == Verdict(State.ARMED)


class TestWords:
    @pytest.mark.parametrize(
        ("kind", "parameters", "action", "said"),
        [
            ("loss_not_finite", {}, "stop", "Stop when loss is not a number."),
            ("loss_above", {"threshold": 5, "after_step": 1000}, "stop", "Stop when loss is above 5 after step 1,000."),
            ("loss_above", {"threshold": 0.25, "after_step": 0}, "notify", "Tell me when loss is above 0.25."),
            (
                "no_better_eval", {"evaluations": 3}, "checkpoint",
                "Save a checkpoint when eval_loss has not fallen in 3 evaluations in a row.",
            ),
            (
                "no_better_eval", {"evaluations": 1, "min_delta": 0.01, "better": "higher", "metric": "f1"}, "stop",
                "Stop when f1 has not risen by 0.01 in an evaluation.",
            ),
            ("no_progress", {"minutes": 30}, "notify", "Tell me when no new step has come for 30 minutes."),
            ("no_progress", {"minutes": 120}, "notify", "Tell me when no new step has come for 2 hours."),
            ("gpu_idle", {}, "notify", "Tell me when the GPU is used less than 10 % for 15 minutes."),
            ("cost_above", {"amount": 12.5}, "notify", "Tell me when the cost is above $12.50."),
            (
                "metric_threshold", {"side": "below", "threshold": -1, "points": 3}, "notify",
                "Tell me when grad_norm is below -1 for 3 points in a row.",
            ),
        ],
    )  # fmt: skip
    def test_a_rule_reads_as_a_sentence(self, kind, parameters, action, said):
        values, errors = validate(RuleKind(kind), parameters)
        assert not errors
        assert sentence(RuleKind(kind), values, RuleAction(action)) == said

    @pytest.mark.parametrize(
        ("value", "shown"),
        [(5.0, "5"), (0, "0"), (0.02, "0.02"), (1.5e-7, "1.5e-07"), (12_000, "12,000"), (-3.5, "-3.5")],
    )
    def test_numbers(self, value, shown):
        assert number(value) == shown


class TestValidation:
    def test_the_defaults_of_every_kind_are_allowed(self):
        for kind in RuleKind:
            values, errors = validate(kind, {})
            assert not errors
            assert list(values) == [one.name for one in KINDS[kind].parameters]

    @pytest.mark.parametrize(
        ("kind", "given", "name"),
        [
            ("loss_above", {"threshold": "five"}, "threshold"),
            ("loss_above", {"threshold": float("nan")}, "threshold"),
            ("loss_above", {"threshold": 10**400}, "threshold"),
            ("loss_above", {"after_step": 1.5}, "after_step"),
            ("loss_above", {"after_step": True}, "after_step"),
            ("loss_above", {"metric": "a b"}, "metric"),
            ("loss_above", {"metric": None}, "metric"),
            ("loss_above", {"limit": 5}, "limit"),
            ("no_better_eval", {"better": ["lower"]}, "better"),
            ("no_progress", {"minutes": 0}, "minutes"),
            ("loss_not_finite", {"metric": "loss"}, "metric"),
            ("loss_not_finite", [], ""),
        ],
    )
    def test_what_cannot_be_is_named(self, kind, given, name):
        _, errors = validate(RuleKind(kind), given)
        assert [field for field, _ in errors] == [name]
        assert all(text.endswith(".") for _, text in errors)

    @given(
        kind=st.sampled_from(list(RuleKind)),
        given=st.dictionaries(
            st.sampled_from(["metric", "threshold", "after_step", "minutes", "x"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers()),
        ),
    )
    def test_whatever_is_accepted_can_be_said(self, kind, given):
        values, errors = validate(kind, given)
        if not errors:
            assert sentence(kind, values, RuleAction.STOP).endswith(".")
