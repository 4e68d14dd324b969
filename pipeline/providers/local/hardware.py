"""What this machine can train on, said the way a person would."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass

import psutil

CPU = "cpu"
GPU = "gpu"
_ASK_AGAIN_SECONDS = 60.0  # nvidia-smi takes up to seconds, and hardware hardly changes
_gpus_seen: tuple[float, tuple[tuple[str, float], ...]] | None = None


@dataclass(frozen=True)
class Hardware:
    type: str  # CPU or GPU
    label: str
    memory_gb: float  # of one GPU, or of the machine when it has none
    gpus: tuple[str, ...] = ()  # as CUDA_VISIBLE_DEVICES names them


def this_machine() -> Hardware:
    found = nvidia_gpus()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [word.strip() for word in chosen.split(",") if word.strip()] if chosen is not None else None
    usable = tuple(str(i) for i in range(len(found))) if names is None else tuple(names[: len(found)])
    if usable and usable[0] != "-1":
        name, memory = found[int(usable[0])] if usable[0].isdigit() and int(usable[0]) < len(found) else found[0]
        count = f"{len(usable)} × " if len(usable) > 1 else ""
        return Hardware(GPU, f"This machine: {count}{name}, {memory:.0f} GB", round(memory, 1), usable)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    memory = psutil.virtual_memory().total / 1024**3
    plural = "core" if cores == 1 else "cores"
    return Hardware(CPU, f"This machine: CPU, {cores} {plural}, {memory:.0f} GB memory", round(memory, 1))


def units_per_slot(machine: Hardware, slots: int) -> int:
    """How many GPUs one run can have when the slots share them fairly; runs without a GPU share all cores."""
    return max(1, len(machine.gpus) // max(1, slots))


def devices(machine: Hardware, slots: int, slot: int, count: int) -> str:
    """CUDA_VISIBLE_DEVICES of a run: each slot has GPUs of its own, as long as there are enough. Empty without GPUs."""
    if not machine.gpus:
        return ""
    first = slot * units_per_slot(machine, slots)
    return ",".join(machine.gpus[(first + i) % len(machine.gpus)] for i in range(count))


def nvidia_gpus() -> tuple[tuple[str, float], ...]:
    """Name and memory in GB of each visible NVIDIA GPU; empty without a driver."""
    global _gpus_seen
    if _gpus_seen is None or time.monotonic() - _gpus_seen[0] > _ASK_AGAIN_SECONDS:
        _gpus_seen = (time.monotonic(), _ask_nvidia_smi())
    return _gpus_seen[1]


def _ask_nvidia_smi() -> tuple[tuple[str, float], ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()  # a card without a working driver cannot train
    return parse_nvidia_smi(answer)


def parse_nvidia_smi(answer: str) -> tuple[tuple[str, float], ...]:
    found = []
    for line in answer.splitlines():
        name, _, mebibytes = line.rpartition(",")
        try:
            found.append((name.strip(), float(mebibytes) / 1024))
        except ValueError:
            continue  # "[N/A]" on cards that share the machine's memory, or an error text
    return tuple(found)
