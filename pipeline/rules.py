"""Whether a rule of a job has come true, as a pure function of what is known about the run and the time.

Nothing here reads a clock or a database. What is missing concludes nothing: a metric that was never logged, a window
with holes, a job that does not train at the moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from pipeline.rule_kinds import RuleKind, minutes, number
from pipeline.texts import usd

LOSSES = ("loss", "eval_loss")
# Steps are expected in these stages only: nothing stands still while an adapter is saved or sent.
STEPPING = frozenset({"training", "evaluating", "contact_lost"})
UNWATCHED = timedelta(minutes=2)  # a time in which nobody looked, such as a restart of the server, is no standstill


class State(StrEnum):
    WAITING = "waiting"  # nothing can be said yet, and `saw` says why
    ARMED = "armed"
    FIRED = "fired"


@dataclass(frozen=True)
class Reading:
    """A metric at a step: a finite value, or the word for one that is none (“NaN”)."""

    name: str
    step: int
    value: float | None
    word: str = ""

    @property
    def shown(self) -> str:
        return self.word or (number(round_off(self.value)) if self.value is not None else "")


@dataclass(frozen=True)
class Evaluation:
    step: int
    value: float
    counts: bool = True  # False: from before the rule was armed, only to be beaten


@dataclass(frozen=True)
class Window:
    """GPU readings of the last minutes, by the machine's own clock."""

    highest: float
    covers: timedelta  # from the oldest to the newest
    longest_gap: timedelta
    step: int


@dataclass(frozen=True)
class Standing:
    """Where the run was when the rule was looked at last, and since when it had been there."""

    attempt: int
    step: int
    since: datetime
    looked_at: datetime


@dataclass(frozen=True)
class Facts:
    """What is known about a run. Readings are of the present attempt and from after the rule was armed."""

    running: bool
    stage: str = "training"
    attempt: int = 1
    step: int = 0
    logged: Mapping[str, Any] = field(default_factory=dict)  # every name that was ever logged
    readings: Sequence[Reading] = ()  # in the order of their steps
    evaluations: Sequence[Evaluation] = ()  # in the order of their steps, without steps that a resumed run undid
    window: Window | None = None
    cost: Decimal = Decimal(0)
    standing: Standing | None = None


@dataclass(frozen=True)
class Verdict:
    state: State
    saw: str = ""  # blank: nothing new
    step: int | None = None
    standing_since: datetime | None = None


NOT_NOW = Verdict(State.ARMED)


def judge(kind: RuleKind, parameters: Mapping[str, Any], facts: Facts, now: datetime) -> Verdict:
    """What follows from `facts` for a rule of this kind; `parameters` are complete."""
    if kind is RuleKind.COST_ABOVE:
        return _cost_above(Decimal(str(parameters["amount"])), facts)
    if not facts.running:
        return NOT_NOW
    match kind:
        case RuleKind.LOSS_NOT_FINITE:
            return _not_finite(facts)
        case RuleKind.LOSS_ABOVE:
            return _beyond(
                parameters["metric"], parameters["threshold"], True, 1, facts, after=parameters["after_step"]
            )
        case RuleKind.METRIC_THRESHOLD:
            above = parameters["side"] == "above"
            return _beyond(parameters["metric"], parameters["threshold"], above, parameters["points"], facts)
        case RuleKind.NO_BETTER_EVAL:
            return _no_better(parameters, facts)
        case RuleKind.NO_PROGRESS:
            return _no_progress(parameters["minutes"], facts, now)
        case RuleKind.GPU_IDLE:
            return _gpu_idle(parameters["percent"], parameters["minutes"], facts)


def _not_finite(facts: Facts) -> Verdict:
    odd = next((one for one in facts.readings if one.word), None)
    if odd is not None:
        return Verdict(State.FIRED, f"{odd.name} {odd.word} at step {odd.step:,}", odd.step)
    if not any(name in facts.logged for name in LOSSES):
        return _missing("loss")
    return Verdict(State.ARMED, _newest(facts))


def _beyond(metric: str, limit: float, above: bool, points: int, facts: Facts, *, after: int = 0) -> Verdict:
    if metric not in facts.logged:
        return _missing(metric)
    row = 0
    for reading in facts.readings:
        if reading.step <= after and after:
            continue
        row = row + 1 if _is_beyond(reading, limit, above) else 0
        if row >= points:
            times = f", {points} points in a row" if points > 1 else ""
            saw = f"{metric} {reading.shown} at step {reading.step:,}{times}, limit {number(limit)}"
            return Verdict(State.FIRED, saw, reading.step)
    if after and facts.step <= after:
        return Verdict(State.WAITING, f"Watches from step {after + 1:,} on.")
    newest = _newest(facts)
    return Verdict(State.ARMED, f"{newest}, limit {number(limit)}" if newest else "")


def _is_beyond(reading: Reading, limit: float, above: bool) -> bool:
    if reading.word:  # NaN is neither above nor below anything
        return reading.word == ("Infinity" if above else "-Infinity")
    assert reading.value is not None
    return reading.value > limit if above else reading.value < limit


def _no_better(parameters: Mapping[str, Any], facts: Facts) -> Verdict:
    metric, patience, delta = parameters["metric"], parameters["evaluations"], parameters["min_delta"]
    sign = 1 if parameters["better"] == "lower" else -1
    if metric not in facts.logged:
        return _missing(metric)
    best: Evaluation | None = None
    row = 0
    for one in facts.evaluations:
        if best is None or sign * one.value < sign * best.value - delta:
            best, row = one, 0
        elif one.counts:
            row += 1
    if best is None:
        return Verdict(State.ARMED)
    last = facts.evaluations[-1]
    of_best = f"{metric} {number(round_off(best.value))} at step {best.step:,} is the best"
    if row >= patience:
        times = "1 evaluation" if row == 1 else f"{row} evaluations"
        saw = f"{of_best}, not beaten in {times} up to step {last.step:,}"
        return Verdict(State.FIRED, saw, last.step)
    since = f", {row} of {patience} without a better one" if row else ""
    return Verdict(State.ARMED, f"{of_best}{since}")


def _no_progress(patience: int, facts: Facts, now: datetime) -> Verdict:
    was = facts.standing
    moved = was is None or (was.attempt, was.step) != (facts.attempt, facts.step)
    if was is None or moved or facts.stage not in STEPPING or now - was.looked_at > UNWATCHED:
        return Verdict(State.ARMED, f"Step {facts.step:,} has just come" if moved else "", standing_since=now)
    stood = now - was.since
    if stood >= timedelta(minutes=patience):
        saw = f"No new step for {minutes(int(stood.total_seconds() // 60))}, the last was step {facts.step:,}"
        return Verdict(State.FIRED, saw, facts.step, was.since)
    whole = int(stood.total_seconds() // 60)
    saw = f"Step {facts.step:,} for {minutes(whole)}" if whole else ""
    return Verdict(State.ARMED, saw, standing_since=was.since)


def _gpu_idle(percent: float, patience: int, facts: Facts) -> Verdict:
    if facts.window is None:
        return _missing("gpu_utilization") if "gpu_utilization" not in facts.logged else Verdict(State.ARMED)
    window, wanted = facts.window, timedelta(minutes=patience)
    highest = f"GPU use at most {number(round(window.highest, 1))} %"
    if window.highest >= percent:
        return Verdict(State.ARMED, f"{highest} in the last {minutes(patience)}")
    if window.longest_gap > longest_gap(patience):
        return Verdict(State.WAITING, "Readings of the GPU are missing, so nothing can be concluded yet.")
    if window.covers < wanted:
        whole = int(window.covers.total_seconds() // 60)
        return Verdict(State.ARMED, f"{highest} for {minutes(whole)}" if whole else "")
    return Verdict(State.FIRED, f"{highest} for {minutes(patience)}, up to step {window.step:,}", window.step)


def longest_gap(patience: int) -> timedelta:
    """Between two readings of a window of so many minutes: longer ones say nothing about what lay between."""
    return timedelta(minutes=patience) / 3


def _cost_above(amount: Decimal, facts: Facts) -> Verdict:
    saw = f"{usd(facts.cost)} spent, limit {usd(amount)}"
    return Verdict(State.FIRED if facts.cost > amount else State.ARMED, saw, facts.step)


def _missing(metric: str) -> Verdict:
    return Verdict(State.WAITING, f"This run has not logged {metric} yet.")


def _newest(facts: Facts) -> str:
    if not facts.readings:
        return ""
    newest = facts.readings[-1]
    return f"{newest.name} {newest.shown} at step {newest.step:,}"


def round_off(value: float) -> float:
    """To the four figures that a person compares."""
    return float(f"{value:.4g}")
