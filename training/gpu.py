"""What the GPUs are doing. Without a GPU, a driver or the library every answer is empty."""

from __future__ import annotations

import importlib
import sys
from typing import Any

GIB = 1024**3


class Gauges:
    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:  # No driver, or no right to ask it.
            return
        self._nvml = nvml

    def __call__(self) -> dict[str, float]:
        """Mean use, total memory, hottest card and total power of all cards of this machine, and torch's own memory."""
        return {**self._cards(), **torch_memory()}

    def _cards(self) -> dict[str, float]:
        if not self._handles:
            return {}
        nvml = self._nvml
        use, used, total, heat, power = [], 0.0, 0.0, [], 0.0
        try:
            for handle in self._handles:
                use.append(float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                used, total = used + memory.used / GIB, total + memory.total / GIB
                heat.append(float(nvml.nvmlDeviceGetTemperature(handle, 0)))
                power += nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        except nvml.NVMLError:  # A card that fell off the bus must not end the heartbeat.
            if not use:
                return {}
        return {
            "gpu_utilization": round(sum(use) / len(use), 1),
            "gpu_memory_used_gb": round(used, 3),
            "gpu_memory_total_gb": round(total, 3),
            **({"gpu_temperature_c": max(heat)} if heat else {}),
            "gpu_power_w": round(power, 1),
        }


def torch_memory() -> dict[str, float]:
    """Memory of torch's allocator on this process's card; asks only when torch is loaded and has a card."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    try:
        if cuda is None or not cuda.is_available() or not cuda.is_initialized():
            return {}
        return {
            "gpu_memory_allocated_gb": round(cuda.memory_allocated() / GIB, 3),
            "gpu_memory_reserved_gb": round(cuda.memory_reserved() / GIB, 3),
        }
    except RuntimeError:
        return {}
