"""The simulated provider: what it tells is a function of its file and the clock, and looks like a training."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from pipeline.providers.base import Machine, MachineRef, MachineState, Provider
from pipeline.providers.simulated import SimulatedProvider, curve
from pipeline.providers.simulated.gpus import GPUS
from pipeline.providers.simulated.provider import FORGET_SECONDS, MAX_POINTS
from tests.pipeline.providers.simulated_harness import SimulatedHarness
from tests.waiting import until
from training.contract import FailureReason, Outcome, Stage
from training.hyperparameters import defaults

numbers = st.one_of(
    st.integers(-(10**9), 10**9), st.floats(allow_nan=True, allow_infinity=True), st.none(), st.text(max_size=3)
)
hyperparameters = st.fixed_dictionaries(
    {},
    optional={
        "max_steps": st.one_of(numbers, st.integers(1, 5_000)),
        "num_train_epochs": st.one_of(numbers, st.floats(0.1, 5)),
        "per_device_train_batch_size": numbers,
        "gradient_accumulation_steps": numbers,
        "logging_steps": st.one_of(numbers, st.integers(1, 50)),
        "eval_steps": st.one_of(numbers, st.integers(0, 200)),
        "warmup_steps": numbers,
        "learning_rate": numbers,
        "max_length": numbers,
        "validation_split": numbers,
        "lr_scheduler_type": st.sampled_from(["cosine", "linear", "constant", "constant_with_warmup", "inverse_sqrt"]),
        "quantization": st.sampled_from(["none", "8bit", "4bit"]),
    },
)
faults = st.one_of(
    st.none(), st.builds(curve.Fault, st.floats(0.01, 0.99), st.just(FailureReason.TRAINING_ERROR), st.just("X."))
)
plans = st.builds(
    curve.plan,
    hyperparameters,
    dataset_rows=st.integers(0, 100_000),
    base_model=st.sampled_from(["", "Llama-3.1-8B", "SmolLM2-135M", "x/y"]),
    gpu_count=st.integers(1, 8),
    speed=st.sampled_from([1.0, 60.0, 1000.0]),
    seed=st.integers(0, 2**32),
    fault=faults,
)

unhurried = profile(deadline=None)  # other work on the machine is no error


def plan(**values: Any) -> curve.Plan:
    return curve.plan(defaults() | values, dataset_rows=2_000, base_model="Qwen2.5-1.5B", seed=5)


def whole_time(run: curve.Plan) -> float:
    about = curve.PROVISION_SECONDS + curve.PREPARE_SECONDS + curve.SAVE_SECONDS + curve.UPLOAD_SECONDS
    return about + curve.training_seconds(run)


class TestCurve:
    @unhurried
    @given(plans, st.lists(st.floats(0, 1.2), min_size=2, max_size=12))
    def test_progress_never_goes_back_and_the_end_is_final(self, run: curve.Plan, shares: list[float]) -> None:
        moments = [curve.moment(run, share * whole_time(run)) for share in sorted(shares)]
        steps = [moment.step for moment in moments]
        assert steps == sorted(steps)
        assert all(0 <= step <= run.last_step for step in steps)
        ends = [moment.outcome is not None for moment in moments]
        assert ends == sorted(ends)
        provisioned = [moment.provisioned for moment in moments]
        assert provisioned == sorted(provisioned)

    @unhurried
    @given(plans)
    def test_it_comes_to_an_end(self, run: curve.Plan) -> None:
        end = curve.moment(run, whole_time(run) * 1.0001 + 1)
        assert end.outcome is (Outcome.FAILED if run.fault else Outcome.COMPLETED)
        assert end.step == run.last_step
        assert end.message

    @unhurried
    @given(plans, st.floats(0, 1), st.floats(0, 1))
    def test_a_stopped_run_does_no_further_step(self, run: curve.Plan, stop: float, later: float) -> None:
        stopped = stop * whole_time(run)
        at_stop, after = curve.moment(run, stopped), curve.moment(run, stopped + later * 100, stopped)
        assert after.step == at_stop.step
        if at_stop.outcome:
            assert after == at_stop
        else:
            assert after.outcome is (Outcome.STOPPED if later * 100 >= curve.STOP_SECONDS else None)
            assert after.stage == Stage.STOPPING
            assert curve.moment(run, stopped, stopped, forced=True).outcome is Outcome.STOPPED

    @unhurried
    @given(plans, st.integers(0, 10**7))
    def test_all_numbers_are_finite_and_within_bounds(self, run: curve.Plan, step: int) -> None:
        values = curve.point(run, min(step, run.total_steps))
        assert all(math.isfinite(value) for value in values.values())
        assert all(value >= 0 for value in values.values())
        assert 0 <= values["progress"] <= 100
        assert 0 <= values["gpu_utilization"] <= 100
        assert 0 <= values["mean_token_accuracy"] <= 1
        assert 0.3 < values["loss"] < 5
        assert values["learning_rate"] <= run.learning_rate * (1 + 1e-9)
        assert json.loads(json.dumps(values)) == values

    @unhurried
    @given(plans, st.integers(0, 10_000), st.integers(0, 10_000), st.integers(1, 50))
    def test_pages_put_together_are_the_whole(self, run: curve.Plan, after: int, upto: int, limit: int) -> None:
        whole = curve.logged_steps(run, after, upto, 100_000)
        assert whole == sorted(set(whole))
        assert all(after < step <= min(upto, run.last_step) for step in whole)
        pages: list[int] = []
        while page := curve.logged_steps(run, pages[-1] if pages else after, upto, limit):
            assert len(page) <= limit
            pages += page
            if len(pages) > 500:
                break
        assert pages == whole[: len(pages)]
        assert len(pages) > 500 or len(pages) == len(whole)

    def test_the_loss_falls_exponentially(self) -> None:
        run = plan(max_steps=1_000)
        losses = [curve.point(run, step)["loss"] for step in range(1, 1_001)]
        means = [sum(losses[i : i + 100]) / 100 for i in range(0, 1_000, 100)]
        assert all(a > b - 0.02 for a, b in pairwise(means))
        assert means[0] - means[2] > 1.3 * (means[2] - means[9])
        assert losses[0] > 2 > 1.2 > losses[-1]
        assert len(set(losses)) > 900

    def test_validation_loss_comes_at_its_steps_and_at_the_end(self) -> None:
        run = plan(max_steps=130, eval_steps=50, logging_steps=7)
        steps = curve.logged_steps(run, 0, 130, 1_000)
        assert [step for step in steps if "eval_loss" in curve.point(run, step)] == [50, 100, 130]
        assert curve.logged_steps(plan(max_steps=9, eval_steps=0, logging_steps=50), 0, 9, 10) == [9]

    def test_the_learning_rate_warms_up_and_falls(self) -> None:
        run = plan(max_steps=1_000, warmup_steps=0.1, learning_rate=1e-3)
        rates = [curve.learning_rate(run, step) for step in range(1_001)]
        assert rates[0] == 0
        assert rates[100] == max(rates) == 1e-3
        assert rates[:101] == sorted(rates[:101])
        assert rates[100:] == sorted(rates[100:], reverse=True)
        assert rates[-1] == pytest.approx(0, abs=1e-12)

    def test_seeds_differ_and_the_same_seed_does_not(self) -> None:
        one, same, other = (curve.plan({"max_steps": 50}, dataset_rows=100, seed=seed) for seed in (1, 1, 2))
        assert [curve.point(one, i) for i in range(50)] == [curve.point(same, i) for i in range(50)]
        assert curve.point(one, 10) != curve.point(other, 10)

    def test_steps_come_from_epochs_rows_and_batch(self) -> None:
        values = {"num_train_epochs": 3, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
        run = curve.plan(values | {"validation_split": 0}, dataset_rows=801)
        assert (run.steps_per_epoch, run.total_steps, run.total_epochs) == (101, 303, 3)
        assert curve.plan(values | {"max_steps": 17}, dataset_rows=801).total_steps == 17

    def test_all_stages_are_passed_in_order(self) -> None:
        run = plan(max_steps=100, eval_steps=50)
        seen: list[str] = []
        for tick in range(int(whole_time(run) * 20) + 20):
            stage = curve.moment(run, tick / 20).stage
            if not seen or seen[-1] != stage:
                seen.append(stage)
        assert seen == ["", "preparing", "training", "evaluating", "training", "evaluating", "saving", "uploading"]

    @pytest.mark.parametrize(
        ("name", "billions"),
        [
            ("meta-llama/Llama-3.1-8B-Instruct", 8),
            ("SmolLM2-135M", 0.135),
            ("Qwen2.5-1.5B", 1.5),
            ("gpt2", 1.0),
            ("", 1.0),
        ],
    )
    def test_the_size_of_a_model_is_read_from_its_name(self, name: str, billions: float) -> None:
        assert curve.parameters_in_billions(name) == billions

    def test_each_log_line_comes_once_however_the_points_are_paged(self) -> None:
        run = plan(max_steps=500, logging_steps=5)
        steps = curve.logged_steps(run, 0, 500, 1_000)
        whole = curve.log_lines(run, steps)
        assert [line for step in steps for line in curve.log_lines(run, [step])] == whole
        assert "nothing is trained" in whole[0]
        assert len(whole) == 12
        assert whole[-1].startswith("Step 500 of 500")


@pytest.fixture
def simulated(settings: Any, tmp_path: Path) -> Iterator[SimulatedHarness]:
    home = tmp_path / "home"
    home.mkdir()
    harness = SimulatedHarness(settings, home)
    yield harness
    harness.close()


def create(simulated: SimulatedHarness, gpu: str, *, age: float = 0.0, **hyperparameters: Any) -> str:
    """A machine that was created `age` seconds ago."""
    name = simulated.new_name()
    simulated.provider().create(simulated.request(name, gpu_type=gpu, hyperparameters=hyperparameters))
    path = simulated.home / "simulated" / f"{name}.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"created_at": document["created_at"] - age}))
    return name


def look(simulated: SimulatedHarness, name: str, after: int = 0) -> Machine:
    return simulated.provider().observe([MachineRef(name, after_step=after)])[name]


class TestProvider:
    def test_it_fulfils_the_protocol(self) -> None:
        provider: Provider = SimulatedProvider()
        assert provider.simulated
        assert not provider.runs_program

    def test_everything_it_offers_says_simulated_and_costs_something(self, simulated: SimulatedHarness) -> None:
        for offer in simulated.provider().offers():
            assert offer.label.startswith("Simulated")
            assert offer.price_per_hour > 0
            assert offer.note
        assert {gpu.speed for gpu in GPUS} == {1, 60, 1000}

    def test_a_complete_run_reports_points_plan_and_outcome(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-60x", age=3600, max_steps=300, logging_steps=5)
        machine = look(simulated, name)
        assert machine.state is MachineState.GONE
        assert machine.outcome is Outcome.COMPLETED
        assert machine.report is not None
        assert machine.report.total_steps == 300
        assert machine.report.total_epochs == pytest.approx(300 / 238, abs=1e-3)
        assert machine.report.points[-1]["step"] == 300
        assert machine.report.points[-1]["progress"] == 100
        assert machine.report.points[-1]["remaining_seconds"] == 0

    def test_a_fast_machine_really_ends_soon(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-1000x", max_steps=200)
        until(lambda: look(simulated, name).state is MachineState.GONE, 10, "the end")

    @pytest.mark.parametrize(
        ("gpu", "reason", "share"), [("sim-fails", "training_error", 0.6), ("sim-out-of-memory", "out_of_memory", 0.02)]
    )
    def test_failures_happen_where_they_should(
        self, simulated: SimulatedHarness, gpu: str, reason: str, share: float
    ) -> None:
        machine = look(simulated, create(simulated, gpu, age=3600, max_steps=500))
        assert (machine.state, machine.outcome, machine.reason) == (MachineState.GONE, Outcome.FAILED, reason)
        assert machine.detail.startswith("Simulated failure")
        assert machine.report is not None
        assert machine.report.points[-1]["step"] == 500 * share

    def test_a_stop_is_saved_first_and_keeps_its_place(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-realtime", age=30, max_steps=100_000)
        simulated.provider().stop(MachineRef(name))
        stopping = look(simulated, name)
        assert stopping.state is MachineState.RUNNING
        assert stopping.report is not None
        assert stopping.report.stage == Stage.STOPPING
        end = until(lambda: m if (m := look(simulated, name)).state is MachineState.GONE else None, 10, "the stop")
        assert end.outcome is Outcome.STOPPED
        assert end.report is not None
        assert end.report.points == stopping.report.points

    def test_a_long_report_is_paged_and_the_end_waits_for_its_reader(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-60x", age=10_000, max_steps=5_000, logging_steps=1)
        after, pages, lines = 0, [], []
        while True:
            machine = look(simulated, name, after)
            assert machine.report is not None
            pages.append(len(machine.report.points))
            lines += machine.report.logs
            assert machine.report.points[0]["step"] == after + 1
            after = int(machine.report.points[-1]["step"])
            if machine.state is MachineState.GONE:
                break
            assert machine.outcome is None
        assert pages == [MAX_POINTS, MAX_POINTS, 1_000]
        assert len(lines) == 12

    def test_a_stop_ends_even_what_nobody_reads(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-60x", age=10_000, max_steps=5_000, logging_steps=1)
        assert look(simulated, name).state is MachineState.RUNNING
        assert simulated.provider().inventory() == []
        simulated.provider().stop(MachineRef(name))
        assert look(simulated, name).outcome is Outcome.COMPLETED

    def test_the_price_counts_all_gpus(self, simulated: SimulatedHarness) -> None:
        name = simulated.new_name()
        one = next(offer for offer in simulated.provider().offers() if offer.type == "sim-60x")
        machine = simulated.provider().create(simulated.request(name, gpu_count=4))
        assert machine.price_per_hour == one.price_per_hour * 4

    def test_files_of_long_ended_machines_are_deleted(self, simulated: SimulatedHarness) -> None:
        old = create(simulated, "sim-60x", age=2 * FORGET_SECONDS, max_steps=10)
        still_running = create(simulated, "sim-realtime", age=3600, max_steps=10_000_000)
        recent = create(simulated, "sim-60x", age=3600, max_steps=10)
        for name in (old, still_running):
            past = time.time() - 2 * FORGET_SECONDS
            os.utime(simulated.home / "simulated" / f"{name}.json", (past, past))
        assert [machine.name for machine in simulated.provider().inventory()] == [still_running]
        assert set(simulated.provider().observe([MachineRef(n) for n in (old, still_running, recent)])) == {
            still_running,
            recent,
        }

    def test_a_torn_file_is_no_machine(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-60x")
        (simulated.home / "simulated" / f"{name}.json").write_text('{"created_at": 1')
        assert simulated.state(name) is None

    def test_a_clock_that_was_set_back_harms_nothing(self, simulated: SimulatedHarness) -> None:
        assert look(simulated, create(simulated, "sim-60x", age=-3600)).state is MachineState.STARTING

    def test_a_thousand_machines_are_observed_in_half_a_second(self, simulated: SimulatedHarness) -> None:
        name = create(simulated, "sim-realtime", age=600, **defaults())
        document = (simulated.home / "simulated" / f"{name}.json").read_text()
        for i in range(1_000):
            (simulated.home / "simulated" / f"many-{i}.json").write_text(document)
        seen = look(simulated, name)
        assert seen.report is not None
        after = int(seen.report.points[-3]["step"])
        refs = [MachineRef(f"many-{i}", after_step=after) for i in range(1_000)]

        def seconds() -> float:
            started = time.process_time()
            machines = simulated.provider().observe(refs)
            took = time.process_time() - started
            assert len(machines) == 1_000
            assert all(machine.report and len(machine.report.points) >= 2 for machine in machines.values())
            return took

        assert min(seconds() for _ in range(3)) < 0.5
