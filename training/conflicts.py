"""Hyperparameters that are fine alone and wrong together. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SHARING = ("fsdp", "zero3")  # choices of `parallelism` that cut the weights into parts


def conflicts(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return, for each conflict in a complete set of clean values, the name to change and a sentence."""
    found: list[tuple[str, str]] = []
    if values["warmup_steps"] >= 1 and values["warmup_steps"] != int(values["warmup_steps"]):
        found.append(("warmup_steps", "warmup_steps must be a share below 1 or a whole number of steps."))
    if 0 < values["max_steps"] < values["warmup_steps"]:
        found.append(("warmup_steps", "warmup_steps is larger than max_steps: the warm-up would never end. Lower it."))
    if values["sample_max_new_tokens"] >= values["max_length"] and values["held_out_samples"]:
        found.append(
            (
                "sample_max_new_tokens",
                "sample_max_new_tokens must be smaller than max_length: the prompt needs room too.",
            )
        )
    kind = values["parallelism"]
    if kind in SHARING and values["quantization"] != "none":
        found.append(
            (
                "parallelism",
                f"{kind} shares out weights of 16 or 32 bits only. Turn quantization off, or choose ddp or zero2.",
            )
        )
    if kind != "ddp" and values["optim"] in ("adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit"):
        found.append(
            (
                "optim",
                f"{values['optim']} cannot be shared out by {kind}, which saves its memory anyway. Use adamw_torch.",
            )
        )
    return found
