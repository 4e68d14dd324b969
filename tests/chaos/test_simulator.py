"""A small run of the protocol simulator; the large one is `make chaos`."""

from __future__ import annotations

import os
import random

import pytest

from tests.chaos.simulator import Rates, simulate

SEED = 1 if os.environ.get("CI") else random.randrange(10**6)


@pytest.mark.parametrize("lag", [0, 30, 90])
def test_no_machine_is_forgotten_or_rented_twice_though_lists_lag(lag: int) -> None:
    result = simulate(1000, lag, SEED)
    assert result.faults > 5000
    assert (result.doubles, result.leaks, result.unfinished) == (0, 0, 0), f"seed {SEED}: {result}"


def test_a_list_that_lags_longer_than_the_quarantine_costs_a_second_machine_for_a_while_but_leaks_none() -> None:
    result = simulate(1000, 200, SEED)
    assert (result.leaks, result.unfinished) == (0, 0), f"seed {SEED}: {result}"


def test_workers_that_freeze_in_a_call_leak_nothing() -> None:
    result = simulate(500, 30, SEED, Rates(frozen=0.05))
    assert (result.leaks, result.unfinished) == (0, 0), f"seed {SEED}: {result}"


def test_without_the_sweep_machines_leak_so_the_simulator_can_tell() -> None:
    result = simulate(500, 200, SEED, sweeps=False)
    assert result.leaks > 0
