"""What a job will probably take and cost, said before it starts, with how sure that is and why.

Best is what jobs of the same kind have taken: their time for each estimated token, and the time around the training
itself. Without such jobs a rough figure comes from the size of the model and the class of the GPU, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from statistics import median
from typing import Any

from django.db.models import F

from pipeline.catalogue import CATALOGUE
from pipeline.costs import amount_for
from pipeline.models import Job
from pipeline.states import EndReason, JobStatus

LEARN_FROM = 20  # of the newest finished jobs
SAME_SIZE = 0.25  # models whose parameters differ by less count as equally large
FLOPS_PER_PARAMETER = 6  # and token: forwards, backwards, and forwards again for what was not kept
QUANTIZED_SLOWER = 1.4
AROUND = 600.0  # seconds to start a machine, load a model and store the adapter, where nothing is known

# Useful operations per second, about a third of what the makers name for 16 bits. The first that fits counts.
_GPU_SPEED = (
    ("B200", 700e12), ("H200", 330e12), ("H100", 300e12), ("A100", 100e12), ("L40", 90e12), ("6000 Ada", 90e12),
    ("RTX PRO 6000", 130e12), ("5090", 70e12), ("4090", 55e12), ("3090", 24e12), ("A6000", 50e12), ("A40", 50e12),
    ("A5000", 36e12), ("A4500", 31e12), ("A4000", 25e12), ("L4", 40e12), ("V100", 40e12), ("T4", 20e12),
)  # fmt: skip
_BILLIONS = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d{1,3})?)([BM])(?![a-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Estimate:
    hours: Decimal | None
    total: Decimal | None  # US dollars
    confidence: str  # "none", "rough" or "measured"
    basis: str  # a sentence: where it comes from

    def as_json(self) -> dict[str, Any]:
        return {
            "hours": None if self.hours is None else str(self.hours),
            "total": None if self.total is None else str(self.total),
            "confidence": self.confidence,
            "basis": self.basis,
        }


def estimate(job: Job) -> Estimate:
    """For a job that may not be saved yet."""
    work = _work(job)
    found = (_measured(job, work) or _rough(job, work)) if work else None
    if found is None:
        basis = "No job of this kind has finished yet, and the model or the GPU is not known well enough for a guess."
        return Estimate(None, Decimal(0) if job.price_per_hour == 0 else None, "none", basis)
    seconds, confidence, basis = found
    if seconds > job.max_duration:
        seconds = float(job.max_duration)
        basis += " It ends at its maximum duration before that."
    hours = Decimal(seconds / 3600).quantize(Decimal("0.0001"))
    return Estimate(hours, amount_for(timedelta(seconds=seconds), job.price_per_hour), confidence, basis)


def _measured(job: Job, work: float) -> tuple[float, str, str] | None:
    """From jobs that went through in one attempt: their median pace, and their median time around the training."""
    paces, arounds = [], []
    for past, trained, billed in _finished_like(job):
        done = _work(past)
        same_unit = (_tokens_per_row(past) is None) == (_tokens_per_row(job) is None)
        if done and trained > 0 and same_unit:
            paces.append(trained / done)
            arounds.append(max(billed - trained, 0.0))
    if not paces:
        return None
    jobs = "1 finished job" if len(paces) == 1 else f"{len(paces)} finished jobs"
    basis = f"From {jobs} with a model of this size, this machine and this quantization."
    return median(paces) * work + median(arounds), "measured", basis


def _finished_like(job: Job) -> Iterator[tuple[Job, float, float]]:
    """(job, seconds of training, seconds of machine) for the newest ones of the same kind."""
    jobs = (
        Job.objects.filter(
            status=JobStatus.COMPLETED, provider=job.provider, gpu_type=job.gpu_type, gpu_count=job.gpu_count,
            base_model__in=_as_large_as(job.base_model), resume_from=None,
            hyperparameters__quantization=job.hyperparameters.get("quantization"),
            hyperparameters__packing=job.hyperparameters.get("packing"),
            attempts__n=1, attempts__reason=EndReason.COMPLETED, attempts__machine_seen_at__isnull=False,
        )
        .select_related("dataset")
        .annotate(machine_time=F("attempts__gone_at") - F("attempts__machine_seen_at"))
        .order_by("-completed_at")
    )  # fmt: skip
    for past in jobs[:LEARN_FROM]:
        trained = past.current_metrics.get("elapsed_seconds")
        if isinstance(trained, int | float):
            yield past, float(trained), past.machine_time.total_seconds()


def _rough(job: Job, work: float) -> tuple[float, str, str] | None:
    parameters = parameters_of(job.base_model)
    speed = next((speed for name, speed in _GPU_SPEED if name.lower() in job.gpu_type.lower()), None)
    if parameters is None or speed is None or _tokens_per_row(job) is None:
        return None
    seconds = FLOPS_PER_PARAMETER * parameters * work / (speed * job.gpu_count)
    if job.hyperparameters.get("quantization") != "none":
        seconds *= QUANTIZED_SLOWER
    basis = (
        f"Rough: {parameters / 1e9:.3g} billion parameters and about {work:,.0f} tokens, at what such a GPU usually "
        "does. It may well be half or twice as much."
    )
    return seconds + AROUND, "rough", basis


def _work(job: Job) -> float | None:
    """How much there is to train: estimated tokens, or rows where the check did not count tokens."""
    values = job.hyperparameters
    if (values.get("max_steps") or -1) > 0:
        per_step = values["per_device_train_batch_size"] * values["gradient_accumulation_steps"] * job.gpu_count
        rows = float(values["max_steps"] * per_step)
    else:
        rows = float(job.dataset.total_training_pairs * values["num_train_epochs"])
    return rows * (_tokens_per_row(job) or 1.0) or None


def _tokens_per_row(job: Job) -> float | None:
    mean = (job.dataset.report.get("tokens") or {}).get("mean")
    return float(min(mean, job.hyperparameters["max_length"])) if mean else None


def parameters_of(base_model: str) -> float | None:
    """How many parameters a model has: from the catalogue, else from its name (“…-7B”), else None."""
    known = next((model.parameters for model in CATALOGUE if model.id == base_model), None)
    if known:
        return float(known)
    named = _BILLIONS.search(base_model)
    return float(named[1]) * (1e9 if named[2].upper() == "B" else 1e6) if named else None


def _as_large_as(base_model: str) -> list[str]:
    size = parameters_of(base_model)
    similar = [
        model.id for model in CATALOGUE
        if size and model.parameters and abs(model.parameters - size) < SAME_SIZE * size
    ]  # fmt: skip
    return [base_model, *similar]
