"""Measure the product: `python -m benchmarks [--quick] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import ingest, live, processes, reading, starting
from benchmarks.product import Product, running
from benchmarks.report import Figure, table
from benchmarks.sizes import SIZES, Sizes
from pipeline.config.env import Refused

FED_JOBS = 160  # more than all measurements together take


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    sizes = SIZES[options.size]
    processes.prepare()
    began = time.monotonic()
    load = [os.getloadavg()[0]]
    try:
        with running(_say) as product:
            product.make_rows(FED_JOBS, sizes.jobs)
            disk = _fdatasync_ms(product.home)
            figures, stored = _measure(product, sizes)
            load.append(os.getloadavg()[0])
    except KeyboardInterrupt:
        _say("Stopped.")
        return 130
    except Refused as refused:
        _say(str(refused))
        return 2
    machine = _machine(load, disk)
    seconds = round(time.monotonic() - began)
    print(f"\n{table(figures)}\n")
    print("Of two values, the first is p50 and the second p99. Times the floor: 1 is as good as it gets.")
    print("; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items()), end=".\n")
    complete = stored["acknowledged"] == stored["stored"] == stored["correct"]
    print(
        f"Steps acknowledged {stored['acknowledged']:,}, stored {stored['stored']:,}, as they were sent "
        f"{stored['correct']:,}: {'every one exactly once.' if complete else 'THIS IS WRONG.'} {seconds} s in all."
    )
    if options.json:
        document = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "size": options.size,
            "seconds": seconds,
            "machine": machine,
            "settings": {name: value for name, value in sorted(os.environ.items()) if name in _COMPARED},
            "stored_exactly_once": complete,
            "steps": stored,
            "figures": [figure.to_json() for figure in figures],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if complete else 1


# What one may set to compare; everything else stays as `make run` has it.
_COMPARED = ("STOKER_WEB_SERVER", "STOKER_WEB_PROCESSES", "STOKER_WORKER_CONCURRENCY", "STOKER_DATABASE_POOL")


def _measure(product: Product, sizes: Sizes) -> tuple[list[Figure], dict[str, int]]:
    stored: dict[str, int] = {}

    def ingested(product: Product, sizes: Sizes) -> list[Figure]:
        figures, counted = ingest.measure(product, sizes)
        stored.update(counted)
        return figures

    parts: list[tuple[str, Callable[[Product, Sizes], list[Figure]]]] = [
        ("Starting and cancelling jobs", starting.measure),
        ("Live pages", live.measure),
        ("Ingest", ingested),
        ("Reading", reading.measure),
    ]
    figures = []
    for what, measure in parts:
        began = time.monotonic()
        figures += measure(product, sizes)
        _say(f"{what}: measured in {time.monotonic() - began:.0f} s.")
    return figures, stored


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the product on this machine.")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much is measured (default: full)")
    parser.add_argument("--quick", dest="size", action="store_const", const="quick", help="the same as --size quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(arguments)


def _machine(load: list[float], fdatasync_ms: float) -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "load_before": round(load[0], 1),
        "load_after": round(load[-1], 1),
        "fdatasync_ms": round(fdatasync_ms, 2),
    }


def _fdatasync_ms(folder: Path) -> float:
    """What one commit waits for the disk, at least."""
    file = folder / "fdatasync"
    sync = getattr(os, "fdatasync", os.fsync)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT)
    try:
        found = []
        for _ in range(50):
            os.write(handle, bytes(8192))
            began = time.perf_counter()
            sync(handle)
            found.append((time.perf_counter() - began) * 1000)
    finally:
        os.close(handle)
        file.unlink()
    return statistics.median(found)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
