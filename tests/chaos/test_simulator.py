"""The protocol simulator: twenty thousand jobs at each lag under `make chaos`, a small run otherwise."""

from __future__ import annotations

import os

import pytest

from tests.chaos.conftest import SEED, Counts
from tests.chaos.simulator import Rates, Result, simulate

JOBS = 20_000 if os.environ.get("STOKER_CHAOS") else 600
pytestmark = pytest.mark.timeout(600)


def count(counts: Counts, result: Result) -> None:
    counts.add(jobs=result.jobs, faults=result.faults, leaks=result.leaks + result.unfinished, doubles=result.doubles)
    counts.say(
        f"{result.machines} machines, {result.crashes} crashes, {result.overlapping} jobs with two at once, "
        f"{result.wasted_seconds:.0f} machine seconds wasted a job"
    )


@pytest.mark.scenario("simulator", "I1 I2 I8")
@pytest.mark.parametrize("lag", [0, 30, 90])
def test_no_machine_is_forgotten_or_rented_twice_with_a_list_that_lags_by(lag: int, counts: Counts) -> None:
    result = simulate(JOBS, lag, SEED)
    count(counts, result)
    assert result.faults > 5 * JOBS
    assert (result.doubles, result.leaks, result.unfinished) == (0, 0, 0), f"seed {SEED}: {result}"


@pytest.mark.scenario("simulator", "I2 I8")
def test_a_list_that_lags_longer_than_the_quarantine_costs_a_second_machine_for_a_while_but_leaks_none(
    counts: Counts,
) -> None:
    result = simulate(JOBS, 200, SEED)
    doubles, result.doubles = result.doubles, 0  # known and bounded: what nobody can see cannot be known
    count(counts, result)
    counts.say(f"{doubles} jobs of {JOBS} had two machines for more than two minutes")
    assert (result.leaks, result.unfinished) == (0, 0), f"seed {SEED}: {result}"


@pytest.mark.scenario("simulator", "I2 I8")
def test_workers_that_freeze_in_a_call_leak_nothing(counts: Counts) -> None:
    result = simulate(JOBS // 4, 30, SEED, Rates(frozen=0.05))
    result.doubles = 0
    count(counts, result)
    assert (result.leaks, result.unfinished) == (0, 0), f"seed {SEED}: {result}"


def test_without_the_sweep_machines_leak_so_the_simulator_can_tell() -> None:
    assert simulate(500, 200, SEED, sweeps=False).leaks > 0
