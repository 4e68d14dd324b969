"""The kinds of machine one can pretend to rent: fast-forward at several speeds, and ways to go wrong."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pipeline.providers.simulated.curve import Fault
from training.contract import FailureReason


@dataclass(frozen=True)
class SimulatedGpu:
    type: str
    label: str
    speed: float  # virtual seconds per real second
    price_per_hour: Decimal
    note: str
    memory_gb: float = 24.0
    fault: Fault | None = None
    diverges: float | None = None
    in_stock: bool = True


GPUS: tuple[SimulatedGpu, ...] = (
    SimulatedGpu("sim-60x", "Simulated GPU, 60 times faster", 60, Decimal("0.80"), "An hour of training in a minute."),
    SimulatedGpu("sim-realtime", "Simulated GPU, real time", 1, Decimal("0.40"), "As slow as the real thing."),
    SimulatedGpu("sim-1000x", "Simulated GPU, 1,000 times faster", 1000, Decimal("2.50"), "Over almost at once.", 80.0),
    SimulatedGpu(
        "sim-fails", "Simulated GPU that fails at 60 %", 60, Decimal("0.80"),
        "Shows what a failed training looks like.",
        fault=Fault(0.6, FailureReason.TRAINING_ERROR, "Simulated failure: training stopped with an error at 60 %."),
    ),
    SimulatedGpu(
        "sim-diverges", "Simulated GPU on which training diverges", 60, Decimal("0.80"),
        "Its loss rises at 30 % and is soon no number: shows what rules do.", diverges=0.3,
    ),
    SimulatedGpu(
        "sim-out-of-memory", "Simulated GPU that runs out of memory", 60, Decimal("0.30"),
        "Shows what too little memory looks like.", 8.0,
        fault=Fault(0.02, FailureReason.OUT_OF_MEMORY, "Simulated failure: CUDA out of memory while training."),
    ),
    SimulatedGpu(
        "sim-sold-out", "Simulated GPU without capacity", 1, Decimal("1.20"),
        "Shows how a job waits for a free machine.", 80.0, in_stock=False,
    ),
)  # fmt: skip

BY_TYPE: dict[str, SimulatedGpu] = {gpu.type: gpu for gpu in GPUS}
