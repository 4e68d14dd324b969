"""What a job will probably take and cost, said before it starts, with how sure that is and why.

Best is how fast jobs of the same kind went: their time for each estimated token, and the time around the training
itself. Without such jobs, what other jobs on this machine took is scaled by the size of the model; else a rough figure
comes from the class of the GPU, or none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from statistics import median, quantiles
from typing import Any

from pipeline.catalogue import parameters_of
from pipeline.costs import amount_for
from pipeline.models import Job
from pipeline.paces import Place, Run, Task, runs

SAME_SIZE = 0.25  # models whose parameters differ by less count as equally large
COMPARABLE = 10.0  # times: how much larger or smaller a model may be that another one is scaled from
WIDE = 3.0  # times: runs that differ by more do not make a figure that is called measured
ALONE = 1.3  # times: how far off a single run, or several that agree by chance, may be
FLOPS_PER_PARAMETER = 6  # and token: forwards, backwards, and forwards again for what was not kept
QUANTIZED_SLOWER = 1.4
AROUND = 600.0  # seconds to start a machine, load a model and store the adapter, where nothing is known

# Useful operations per second, about a third of what the makers name for 16 bits. The first that fits counts.
_GPU_SPEED = (
    ("B200", 700e12), ("H200", 330e12), ("H100", 300e12), ("A100", 100e12), ("L40", 90e12), ("6000 Ada", 90e12),
    ("RTX PRO 6000", 130e12), ("5090", 70e12), ("4090", 55e12), ("3090", 24e12), ("A6000", 50e12), ("A40", 50e12),
    ("A5000", 36e12), ("A4500", 31e12), ("A4000", 25e12), ("L4", 40e12), ("V100", 40e12), ("T4", 20e12),
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    hours: Decimal | None
    total: Decimal | None  # US dollars
    confidence: str  # "none", "rough" or "measured"
    basis: str  # a sentence: where it comes from
    low_hours: Decimal | None = None  # it should lie between these
    high_hours: Decimal | None = None
    runs: int = 0  # how many jobs it is learnt from

    def as_json(self) -> dict[str, Any]:
        amounts = {name: getattr(self, name) for name in ("hours", "total", "low_hours", "high_hours")}
        return {name: None if amount is None else str(amount) for name, amount in amounts.items()} | {
            "confidence": self.confidence,
            "basis": self.basis,
            "runs": self.runs,
        }


@dataclass(frozen=True)
class _Guess:
    seconds: float
    low: float
    high: float
    confidence: str
    basis: str
    runs: int = 0


def estimate(job: Job) -> Estimate:
    """For a job that may not be saved yet."""
    place = Place(job.provider, job.gpu_type, job.gpu_count)
    return Estimator(Task.of(job), [place]).at(place, job.price_per_hour, job.max_duration)


class Estimator:
    """One task at any of several places. What was learnt is read once, when this is made."""

    def __init__(self, task: Task, places: Iterable[Place]) -> None:
        self.task = task
        self._size = cache(parameters_of)  # may look at files
        self._runs = runs(places)

    def at(self, place: Place, price_per_hour: Decimal, max_seconds: int) -> Estimate:
        """`price_per_hour` is that of the whole machine."""
        work = self.task.work(place.gpus)
        guess = (self._measured(place, work) or self._scaled(place, work) or self._rough(place, work)) if work else None
        if guess is None:
            basis = "No job of this kind has run yet, and the model or the GPU is not known well enough for a guess."
            return Estimate(None, Decimal(0) if price_per_hour == 0 else None, "none", basis)
        cut = guess.seconds > max_seconds
        basis = f"{guess.basis} It ends at its maximum duration before that." if cut else guess.basis
        seconds = min(guess.seconds, float(max_seconds))
        return Estimate(
            _hours(seconds), amount_for(timedelta(seconds=seconds), price_per_hour), guess.confidence, basis,
            _hours(min(guess.low, float(max_seconds))), _hours(min(guess.high, float(max_seconds))), guess.runs,
        )  # fmt: skip

    def _measured(self, place: Place, work: float) -> _Guess | None:
        alike = [
            run for run in self._known(place)
            if run.gpus == place.gpus and self._as_large(run) and self._settings(run.task) == self._settings(self.task)
        ]  # fmt: skip
        if not alike:
            return None
        basis = f"From {_jobs(alike)} with a model of this size, this machine and this quantization."
        return _between([run.pace for run in alike], _around(alike), work, "measured", basis)

    def _scaled(self, place: Place, work: float) -> _Guess | None:
        """From whatever else ran on this kind of machine."""
        comparable = [(run, times) for run in self._known(place) if (times := self._times(run, place)) is not None]
        if not comparable:
            return None
        others = [run for run, _ in comparable]
        basis = f"Rough: from {_jobs(others)} on this machine with another model or other settings, scaled to this one."
        return _between(
            [run.pace * times for run, times in comparable], _around(others), work, "rough", basis, least=2.0
        )

    def _rough(self, place: Place, work: float) -> _Guess | None:
        speed = next((speed for name, speed in _GPU_SPEED if name.lower() in place.gpu_type.lower()), None)
        parameters = self._size(self.task.base_model)
        if parameters is None or speed is None or self.task.tokens_per_row is None:
            return None
        seconds = FLOPS_PER_PARAMETER * parameters * work / (speed * place.gpus) * _slower(self.task)
        basis = (
            f"Rough: {parameters / 1e9:.3g} billion parameters and about {work:,.0f} tokens, at what such a GPU "
            "usually does. It may well be half or twice as much."
        )
        return _Guess(seconds + AROUND, seconds / 2 + AROUND / 2, seconds * 2 + AROUND * 2, "rough", basis)

    def _known(self, place: Place) -> list[Run]:
        """In the same unit of work: tokens or rows."""
        counted = self.task.tokens_per_row is None
        return [
            run
            for run in self._runs.get((place.provider, place.gpu_type), [])
            if (run.task.tokens_per_row is None) == counted
        ]

    def _as_large(self, run: Run) -> bool:
        if run.task.base_model == self.task.base_model:
            return True
        theirs, ours = self._size(run.task.base_model), self._size(self.task.base_model)
        return bool(theirs and ours and abs(theirs - ours) < SAME_SIZE * ours)

    def _times(self, run: Run, place: Place) -> float | None:
        """How many times as long this task takes as `run` did, for the same work; None where they cannot be told."""
        theirs, ours = self._size(run.task.base_model), self._size(self.task.base_model)
        if run.task.base_model == self.task.base_model:
            larger = 1.0
        elif not theirs or not ours or not 1 / COMPARABLE <= (larger := ours / theirs) <= COMPARABLE:
            return None
        if run.task.hyperparameters.get("packing") != self.task.hyperparameters.get("packing"):
            return None  # a packed row holds several: the same work is another number of steps
        return larger * run.gpus / place.gpus * _slower(self.task) / _slower(run.task)

    def _settings(self, task: Task) -> tuple[Any, ...]:
        return task.hyperparameters.get("quantization"), task.hyperparameters.get("packing")


def _between(
    paces: list[float], around: float, work: float, confidence: str, basis: str, *, least: float = 1.0
) -> _Guess:
    """The median, and the range in which the middle half of many runs lies, or all of a few; never a narrow one of one.

    What differs too much is no measurement, whatever it was learnt from.
    """
    middle, n = median(paces), len(paces)
    low, high = (quantiles(paces, n=4)[0], quantiles(paces, n=4)[2]) if n >= 4 else (min(paces), max(paces))
    margin = max(least, 1 + (ALONE - 1) / n)
    low, high = min(low, middle / margin), max(high, middle * margin)
    if high > low * WIDE and confidence == "measured":
        confidence = "rough"
        basis += " They went at very different paces, so this is rough."
    return _Guess(middle * work + around, low * work + around, high * work + around, confidence, basis, n)


def _around(found: list[Run]) -> float:
    known = [run.around for run in found if run.around is not None]
    return median(known) if known else AROUND


def _jobs(found: list[Run]) -> str:
    return "1 earlier job" if len(found) == 1 else f"{len(found)} earlier jobs"


def _slower(task: Task) -> float:
    return 1.0 if task.hyperparameters.get("quantization") == "none" else QUANTIZED_SLOWER


def _hours(seconds: float) -> Decimal:
    return Decimal(seconds / 3600).quantize(Decimal("0.0001"))
