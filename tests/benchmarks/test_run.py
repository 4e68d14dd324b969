"""The benchmark runs and tells what it promises. How fast anything is, is not asserted anywhere."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.report import Figure, Floor, percentiles, table
from pipeline.config.supervisor import ROOT
from tests.conftest import OUTSIDE


@pytest.mark.e2e
def test_a_tiny_run_measures_everything_and_loses_no_step(tmp_path):
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--size", "tiny", "--json", str(file)],
        cwd=ROOT, env=OUTSIDE, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(file.read_text())
    assert said["stored_exactly_once"]
    assert said["steps"]["acknowledged"] == said["steps"]["correct"] > 0
    measured = {figure["key"] for figure in said["figures"]}
    assert {
        "ingest_batches_1",
        "ingest_single",
        "live_1",
        "read_curves",
        "start_process",
        "cancel_answered",
    } <= measured
    for figure in said["figures"]:
        assert figure["what"] in done.stdout
        assert all(value > 0 for name, value in figure.items() if name in ("rate", "p50", "p99"))


def test_percentiles_are_values_that_occurred():
    assert percentiles(range(1, 201)) == {"p50": 100, "p99": 198}
    assert percentiles([7.0]) == {"p50": 7.0, "p99": 7.0}


def test_a_ratio_says_how_many_times_worse_than_the_floor():
    slow = Figure("a", "a thing", "ms", {"p50": 6.0, "p99": 8.0}, Floor("nothing", {"p50": 2.0, "p99": 2.0}))
    rare = Figure("b", "another", "posts/s", {"rate": 50.0}, Floor("nothing", {"rate": 400.0}))
    assert (slow.ratios, rare.ratios) == ({"p50": 3.0, "p99": 4.0}, {"rate": 8.0})
    assert "| 3.0 / 4.0 " in table([slow, rare])
