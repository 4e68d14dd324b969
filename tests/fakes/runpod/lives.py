"""What the faults of a pod's life do to a pod, when it is made or while it lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.fakes.runpod.faults import Fault
from tests.fakes.runpod.pod import Boot, Pod

TIMERS = ("preempt", "vanish", "price")


def boot_of(boot: Boot, faults: Sequence[Fault]) -> Boot:
    """How a pod boots that is made under these faults."""
    for fault in faults:
        if fault.kind == "stuck":
            boot = replace(boot, stuck=fault.values["at"])
        elif fault.kind == "start_error":
            boot = replace(boot, error=True, stuck="")
        elif fault.kind == "slow_boot":
            boot = replace(boot, container=float(fault.values["seconds"]))
    return boot


def strike(pod: Pod, fault: Fault, now: float) -> None:
    """Put a fault on a pod. Timers count from the start of its container, or from now when that is past."""
    values = fault.values
    if fault.kind in TIMERS:
        begin = max(now, pod.booting_since + pod.boot.total)
        pod.timers.append({**values, "do": fault.kind, "at": begin + float(values["seconds"])})
    elif fault.kind == "restart_loop":
        pod.traits["restart_loop"] = dict(values)
    elif fault.kind == "linger":
        pod.traits["linger"] = int(values["polls"])
    elif fault.kind in ("locked", "no_own_key", "cut_off", "wiped_disk"):
        pod.traits[fault.kind] = True


def shown(pod: Pod, faults: Sequence[Fault], now: float, *, may_hide: bool = True) -> dict[str, Any] | None:
    """The pod as the API shows it under these faults; None when it is hidden."""
    document = pod.as_json(now)
    for fault in faults:
        if not fault.fits_name(pod.name):
            continue
        if fault.kind == "hide" and may_hide:
            return None
        if fault.kind == "late" and may_hide and now - pod.created_at < float(fault.values["seconds"]):
            return None
        if fault.kind == "change":
            document |= fault.values["fields"]
        elif fault.kind == "drop":
            for key in fault.values["fields"]:
                document.pop(key, None)
    return document
