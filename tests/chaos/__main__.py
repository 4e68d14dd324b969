"""`python -m tests.chaos`: every scenario there is, as one table, and the sums that must be zero."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHOWN = ("jobs", "faults", "leaks", "doubles", "lost", "doubled", "overspend")
WORDS = {"lost": "lost metrics", "doubled": "doubled metrics", "faults": "faults injected"}
ZEROS = SHOWN[2:]
# Scenarios that the tests of a part play already; they are run and shown here, too.
ELSEWHERE = {
    "tests/pipeline/test_sweeping.py::test_a_restored_backup_ends_nothing": ("15", "I2"),
    "tests/pipeline/test_wire.py::test_a_value_that_is_no_number_never_loses_the_batch": ("38", "I5"),
    "tests/pipeline/test_rented.py::TestAccounts::test_a_key_that_cannot_be_read_concludes_nothing": ("50", "I2"),
    "tests/training/test_pod.py::test_a_server_that_is_not_there_ends_the_machine_in_the_end": ("31", "I2"),
    "tests/training/test_artifacts.py::test_file_is_fetched_again_after_a_cut_and_with_a_new_link": ("45", "I8"),
    "tests/training/test_artifacts.py::test_upload_is_repeated_until_the_server_has_checked_it": ("46", "I5"),
    "tests/training/test_reporter.py::test_nothing_is_lost_or_doubled_while_the_server_is_away": ("37", "I5"),
}


class Table:
    """Prints a line for each test as it ends, and keeps what it counted. A plug-in of pytest."""

    def __init__(self) -> None:
        self.out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)  # pytest takes the usual one
        self.rows: list[dict[str, Any]] = []
        self.sums: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.passed:
            return
        told = dict(report.user_properties)
        number, invariants = told.get("scenario") or ELSEWHERE.get(report.nodeid.partition("[")[0], ("", ""))
        row = {
            "scenario": number,
            "invariants": invariants,
            "name": _sentence(report.nodeid),
            "result": "ok" if report.passed else "skipped" if report.skipped else "FAILED",
            "seconds": round(report.duration, 1),
            "counts": dict(told.get("counts", {})),
            "note": " ".join(text for name, text in report.user_properties if name == "note"),
            "problem": "" if not report.failed else str(report.longreprtext)[-3000:],
        }
        self.rows.append(row)
        self.sums.update(row["counts"])
        print(
            f"{number:>12}  {row['result']:<7} {row['seconds']:>6.1f} s  {row['name']}  ({invariants or '-'})",
            file=self.out,
        )
        if row["note"]:
            print(f"{'':33}{row['note']}", file=self.out)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Proves that faults cost nothing.")
    parser.add_argument("--only", default="", help="run what has this in its name")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", type=Path, help="write everything to this file, too")
    given = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    os.environ["STOKER_CHAOS"], os.environ["STOKER_CHAOS_SEED"] = "1", str(seed)
    os.chdir(ROOT)
    print(f"Seed {seed}. The same again: make chaos SEED={seed}\n")
    began = time.monotonic()
    table = Table()
    in_process = ["tests/chaos", "--ignore=tests/chaos/processes", *ELSEWHERE, "-n", "2", "--dist", "load"]
    for paths in (in_process, ["tests/chaos/processes"]):
        _run(paths, given.only, table)
    return _conclude(table, seed, time.monotonic() - began, given.json)


def _run(paths: list[str], only: str, table: Table) -> None:
    import pytest

    quiet = ["-p", "no:cacheprovider", "--hypothesis-seed", os.environ["STOKER_CHAOS_SEED"]]
    # The table takes the place of pytest's own words.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main([*paths, *(["-k", only] if only else []), *quiet], plugins=[table])


def _conclude(table: Table, seed: int, seconds: float, file: Path | None) -> int:
    failed = [row for row in table.rows if row["result"] == "FAILED"]
    for row in failed:
        print(f"\n{row['name']}\n{row['problem']}")
    print()
    for name in SHOWN:
        print(f"{WORDS.get(name, name):>16}  {table.sums[name]:,}")
    print(f"{'scenarios':>16}  {len(table.rows)} in {seconds:.0f} s, {len(failed)} failed")
    if file is not None:
        result = {"seed": seed, "seconds": round(seconds), "sums": dict(table.sums), "rows": table.rows}
        file.write_text(json.dumps(result, indent=2))
    ran = any(row["result"] == "ok" for row in table.rows)
    return 0 if ran and not failed and not any(table.sums[name] for name in ZEROS) else 1


def _sentence(node: str) -> str:
    name, _, values = node.rpartition("::")[2].partition("[")
    sentence = name.removeprefix("test_").replace("_", " ")
    return f"{sentence}: {values.rstrip(']')}" if values else sentence


if __name__ == "__main__":
    sys.exit(main())
