"""What rules there are: each kind with its parameters, their limits, and the sentence a person reads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from django.db.models import TextChoices

from pipeline.metric_names import NAME
from pipeline.texts import usd

MOST_POINTS = 50  # in a row; more are never read before the newest ones


class RuleKind(TextChoices):
    LOSS_NOT_FINITE = "loss_not_finite", "Loss is not a number"
    LOSS_ABOVE = "loss_above", "Loss is too high"
    NO_BETTER_EVAL = "no_better_eval", "Validation gets no better"
    NO_PROGRESS = "no_progress", "No progress"
    GPU_IDLE = "gpu_idle", "GPU is idle"
    COST_ABOVE = "cost_above", "Cost is too high"
    METRIC_THRESHOLD = "metric_threshold", "Any metric beyond a limit"


class RuleAction(TextChoices):
    NOTIFY = "notify", "Tell me"
    CHECKPOINT = "checkpoint", "Save a checkpoint"
    STOP = "stop", "Stop"


class Type(StrEnum):
    METRIC = "metric"  # a metric's name
    NUMBER = "number"
    WHOLE = "whole"
    CHOICE = "choice"


@dataclass(frozen=True)
class Parameter:
    name: str
    type: Type
    label: str
    default: Any
    unit: str = ""
    help: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kind:
    kind: RuleKind
    help: str
    parameters: tuple[Parameter, ...] = ()

    @property
    def label(self) -> str:
        return self.kind.label


LARGEST = 1e12
_THRESHOLD = Parameter("threshold", Type.NUMBER, "Limit", 5.0, minimum=-LARGEST, maximum=LARGEST)
_METRIC_HELP = "As the program logs it; the charts show the names."


def _minutes(default: int) -> Parameter:
    return Parameter("minutes", Type.WHOLE, "For", default, "minutes", minimum=1, maximum=7 * 24 * 60)


KINDS: dict[RuleKind, Kind] = {
    one.kind: one
    for one in (
        Kind(RuleKind.LOSS_NOT_FINITE, "The training or the validation loss is NaN or infinite."),
        Kind(
            RuleKind.LOSS_ABOVE,
            "The loss is above a limit, once the first steps are over.",
            (
                Parameter("metric", Type.METRIC, "Metric", "loss", help=_METRIC_HELP),
                _THRESHOLD,
                Parameter("after_step", Type.WHOLE, "Only after step", 100, minimum=0, maximum=10**9),
            ),
        ),
        Kind(
            RuleKind.NO_BETTER_EVAL,
            "Several evaluations in a row bring nothing better than the best one so far.",
            (
                Parameter("evaluations", Type.WHOLE, "Evaluations in a row", 3, minimum=1, maximum=1000),
                Parameter(
                    "min_delta", Type.NUMBER, "Better by at least", 0.0, help="Less than this is not an improvement.",
                    minimum=0, maximum=LARGEST,
                ),
                Parameter("metric", Type.METRIC, "Metric", "eval_loss", help=_METRIC_HELP),
                Parameter("better", Type.CHOICE, "Better is", "lower", choices=("lower", "higher")),
            ),
        ),
        Kind(RuleKind.NO_PROGRESS, "No new step arrives while the job trains.", (_minutes(30),)),
        Kind(
            RuleKind.GPU_IDLE,
            "The GPU has next to nothing to do, and costs the same. Nothing is concluded where readings are missing.",
            (Parameter("percent", Type.NUMBER, "Used less than", 10.0, "%", minimum=0.1, maximum=100), _minutes(15)),
        ),
        Kind(
            RuleKind.COST_ABOVE,
            "The job has cost more than an amount. A budget is a limit; this is an alarm.",
            (Parameter("amount", Type.NUMBER, "Amount", 10.0, "USD", minimum=0.01, maximum=10**9),),
        ),
        Kind(
            RuleKind.METRIC_THRESHOLD,
            "Whatever the program logs, above or below a limit.",
            (
                Parameter("metric", Type.METRIC, "Metric", "grad_norm", help=_METRIC_HELP),
                Parameter("side", Type.CHOICE, "Is", "above", choices=("above", "below")),
                _THRESHOLD,
                Parameter("points", Type.WHOLE, "Points in a row", 1, minimum=1, maximum=MOST_POINTS),
            ),
        ),
    )
}  # fmt: skip

# What everybody's jobs begin with, until they change it.
BUILT_IN: tuple[tuple[RuleKind, dict[str, Any], RuleAction], ...] = (
    (RuleKind.LOSS_NOT_FINITE, {}, RuleAction.STOP),
    (RuleKind.NO_PROGRESS, {"minutes": 30}, RuleAction.NOTIFY),
)


def validate(kind: RuleKind, given: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The complete parameters of a rule, and (name, sentence) for each that cannot be taken."""
    if not isinstance(given, Mapping):
        return {}, [("", "Give the parameters as an object: names and values.")]
    known = {one.name: one for one in KINDS[kind].parameters}
    values: dict[str, Any] = {}
    errors: list[tuple[str, str]] = []
    for name in given:
        if name not in known:
            names = f"It has: {', '.join(known)}." if known else "It has none."
            errors.append((str(name)[:60], f"A rule of this kind has no such parameter. {names}"))
    for name, parameter in known.items():
        value, sentence = _checked(parameter, given.get(name, parameter.default))
        if sentence:
            errors.append((name, sentence))
        else:
            values[name] = value
    return values, errors


def _checked(parameter: Parameter, value: Any) -> tuple[Any, str]:
    if parameter.type is Type.METRIC:
        fits = isinstance(value, str) and NAME.fullmatch(value)
        return value, "" if fits else "Name a metric as the program logs it: letters, digits, _ . / : -, at most 64."
    if parameter.type is Type.CHOICE:
        return value, "" if value in parameter.choices else f"Choose one of: {', '.join(parameter.choices)}."
    low, high = parameter.minimum, parameter.maximum
    assert low is not None
    assert high is not None
    what = "a whole number" if parameter.type is Type.WHOLE else "a number"
    wrong = f"Give {what} from {number(low)} to {number(high)}."
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, wrong
    # An int of any length compares with a float, but does not become one.
    if not low <= value <= high or not math.isfinite(value):
        return None, wrong
    if parameter.type is Type.WHOLE:
        return int(value), "" if value == int(value) else wrong
    return float(value), ""


def sentence(kind: RuleKind, parameters: Mapping[str, Any], action: RuleAction) -> str:
    """The rule as a person would say it: “Stop when loss is not a number.”"""
    return f"{action.label} when {condition(kind, parameters)}."


def condition(kind: RuleKind, parameters: Mapping[str, Any]) -> str:
    """What has to happen, as the second half of a sentence. `parameters` are complete."""
    get = parameters.__getitem__
    match kind:
        case RuleKind.LOSS_NOT_FINITE:
            return "loss is not a number"
        case RuleKind.LOSS_ABOVE:
            after = f" after step {get('after_step'):,}" if get("after_step") else ""
            return f"{get('metric')} is above {number(get('threshold'))}{after}"
        case RuleKind.NO_BETTER_EVAL:
            moved = "fallen" if get("better") == "lower" else "risen"
            by = f" by {number(get('min_delta'))}" if get("min_delta") else ""
            count = get("evaluations")
            evaluations = "in an evaluation" if count == 1 else f"in {count} evaluations in a row"
            return f"{get('metric')} has not {moved}{by} {evaluations}"
        case RuleKind.NO_PROGRESS:
            return f"no new step has come for {minutes(get('minutes'))}"
        case RuleKind.GPU_IDLE:
            return f"the GPU is used less than {number(get('percent'))} % for {minutes(get('minutes'))}"
        case RuleKind.COST_ABOVE:
            return f"the cost is above {usd(Decimal(str(get('amount'))))}"
        case RuleKind.METRIC_THRESHOLD:
            row = f" for {get('points')} points in a row" if get("points") > 1 else ""
            return f"{get('metric')} is {get('side')} {number(get('threshold'))}{row}"


def number(value: float) -> str:
    """In few characters, without a useless zero: 5, 0.02, 1.5e-07, 12,000."""
    if value == 0 or 1e-4 <= abs(value) < 1e15:
        shown = f"{value:,.6f}" if abs(value) < 1000 else f"{value:,.2f}"
        return shown.rstrip("0").rstrip(".")
    return f"{value:.3g}"


def minutes(count: int) -> str:
    if count % 60 == 0:
        return "1 hour" if count == 60 else f"{count // 60} hours"
    return "1 minute" if count == 1 else f"{count} minutes"
