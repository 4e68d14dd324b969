"""A training that never happens, as pure functions of (plan, seconds since creation).

Time is virtual: seconds as the imagined GPU would count them. Nothing is stored between calls, so a thousand machines
cost a thousand small files, and every reader of one machine sees the same numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.contract import FailureReason, Outcome, Stage

PROVISION_SECONDS = 4.0  # until the machine is there
PREPARE_SECONDS = 6.0  # until the first step
EVAL_SECONDS = 1.5  # each evaluation, during which no step is done
SAVE_SECONDS = 3.0
UPLOAD_SECONDS = 2.0
DIVERGES_WITHIN = 0.08  # share of the steps from the first rise of the loss until it is no number any more
STOP_SECONDS = 3.0  # from a stop order until the checkpoint is saved
DEFAULT_ROWS = 1_000  # when nobody knows the size of the dataset
ROW_TOKENS = 256


@dataclass(frozen=True)
class Fault:
    """Where a run fails, as a share of its steps, and how."""

    share: float
    reason: FailureReason
    message: str


@dataclass(frozen=True)
class Plan:
    """Everything a run's numbers depend on, besides the time."""

    seed: int
    speed: float  # virtual seconds per real second
    total_steps: int
    steps_per_epoch: float
    logging_steps: int
    eval_steps: int  # 0: only after the last step
    seconds_per_step: float  # virtual
    tokens_per_second: float
    samples_per_second: float
    learning_rate: float
    scheduler: str
    warmup_steps: int
    memory_gb: float  # used on one GPU
    first_loss: float
    last_loss: float
    fault: Fault | None = None
    diverges: float | None = None  # the share of the steps from which on the loss rises, until it is no number

    @property
    def total_epochs(self) -> float:
        return self.total_steps / self.steps_per_epoch

    @property
    def last_step(self) -> int:
        """The last step that is done, even when the run fails before its end."""
        return self.total_steps if self.fault is None else max(1, math.ceil(self.total_steps * self.fault.share))


@dataclass(frozen=True)
class Moment:
    """Where a run is. `outcome` is None as long as it lasts."""

    provisioned: bool
    stage: str
    step: int
    outcome: Outcome | None = None
    reason: str = ""
    message: str = ""


def plan(
    hyperparameters: Mapping[str, Any],
    *,
    dataset_rows: int,
    base_model: str = "",
    gpu_count: int = 1,
    gpu_memory_gb: float = 24.0,
    speed: float = 1.0,
    seed: int = 0,
    fault: Fault | None = None,
    diverges: float | None = None,
) -> Plan:
    """Values that are missing or nonsense fall back to common ones: a simulation has no reason to refuse."""

    def number(name: str, default: float, low: float, high: float) -> float:
        value = hyperparameters.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return default
        return min(max(float(value), low), high)

    gpus = max(1, gpu_count)
    per_gpu = int(number("per_device_train_batch_size", 2, 1, 1024))
    batch = per_gpu * int(number("gradient_accumulation_steps", 4, 1, 4096)) * gpus
    rows = (dataset_rows if dataset_rows > 0 else DEFAULT_ROWS) * (1 - number("validation_split", 0.05, 0, 0.5))
    steps_per_epoch = max(1, math.ceil(rows / batch))
    max_steps = int(number("max_steps", -1, -1, 10_000_000))
    total = max_steps if max_steps > 0 else math.ceil(number("num_train_epochs", 3, 0.01, 1000) * steps_per_epoch)
    total = max(1, min(total, 10_000_000))
    warmup = number("warmup_steps", 0.03, 0, 1_000_000)
    billions = parameters_in_billions(base_model)
    tokens_per_second = min(max(24_000 / billions, 400.0), 60_000.0) * gpus**0.95
    row_tokens = min(number("max_length", 1024, 8, 1_048_576), ROW_TOKENS)
    bytes_per_weight = {"4bit": 0.6, "8bit": 1.1}.get(str(hyperparameters.get("quantization")), 2.1)
    return Plan(
        seed=seed,
        speed=speed,
        total_steps=total,
        steps_per_epoch=steps_per_epoch,
        logging_steps=int(number("logging_steps", 5, 1, 100_000)),
        eval_steps=int(number("eval_steps", 50, 0, 10_000_000)),
        seconds_per_step=min(max(batch * row_tokens / tokens_per_second, 0.02), 60.0),
        tokens_per_second=tokens_per_second,
        samples_per_second=tokens_per_second / row_tokens,
        learning_rate=number("learning_rate", 2e-4, 1e-8, 1.0),
        scheduler=str(hyperparameters.get("lr_scheduler_type", "cosine")),
        warmup_steps=min(total, math.ceil(warmup * total) if warmup < 1 else int(warmup)),
        memory_gb=min(billions * bytes_per_weight + 1.5 + 0.4 * per_gpu, gpu_memory_gb * 0.92),
        first_loss=2.6 + 0.25 * _noise(seed, 0, 7),
        last_loss=0.8 + 0.08 * _noise(seed, 0, 8),
        fault=fault,
        diverges=diverges,
    )


def parameters_in_billions(base_model: str) -> float:
    """As the model's name says it ("Llama-3.1-8B", "SmolLM2-135M"); 1 when it does not."""
    found = re.findall(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)\s?([bBmM])(?![A-Za-z])", base_model.replace("_", "-"))
    if not found:
        return 1.0
    size, unit = found[-1]
    return min(max(float(size) / (1000 if unit in "mM" else 1), 0.05), 1000.0)


def moment(plan: Plan, elapsed: float, stopped_after: float | None = None, *, forced: bool = False) -> Moment:
    """Where the run is `elapsed` virtual seconds after creation, and `stopped_after` when a stop was ordered then."""
    if stopped_after is None or elapsed < stopped_after:
        return _undisturbed(plan, elapsed)
    at_stop = _undisturbed(plan, stopped_after)
    if at_stop.outcome is not None:
        return at_stop
    if forced or elapsed >= stopped_after + STOP_SECONDS:
        return Moment(True, Stage.STOPPING, at_stop.step, Outcome.STOPPED, "", "The simulated run was stopped.")
    return Moment(at_stop.provisioned, Stage.STOPPING, at_stop.step)


def _undisturbed(plan: Plan, elapsed: float) -> Moment:
    if elapsed < PROVISION_SECONDS:
        return Moment(False, "", 0)
    training = elapsed - PROVISION_SECONDS - PREPARE_SECONDS
    if training < 0:
        return Moment(True, Stage.PREPARING, 0)
    step, evaluating = _step_at(plan, training)
    if plan.fault and step >= plan.last_step:
        return Moment(True, Stage.TRAINING, plan.last_step, Outcome.FAILED, plan.fault.reason, plan.fault.message)
    if step < plan.total_steps or evaluating:
        return Moment(True, Stage.EVALUATING if evaluating else Stage.TRAINING, step)
    after = training - training_seconds(plan)
    if after < SAVE_SECONDS:
        return Moment(True, Stage.SAVING, step)
    if after < SAVE_SECONDS + UPLOAD_SECONDS:
        return Moment(True, Stage.UPLOADING, step)
    return Moment(True, Stage.UPLOADING, step, Outcome.COMPLETED, "", "The simulated training is complete.")


def training_seconds(plan: Plan) -> float:
    """From the first step to the end of the last evaluation, in virtual seconds."""
    full_blocks = plan.total_steps // plan.eval_steps if plan.eval_steps else 0
    last_is_extra = not plan.eval_steps or plan.total_steps % plan.eval_steps
    return plan.total_steps * plan.seconds_per_step + (full_blocks + bool(last_is_extra)) * EVAL_SECONDS


def _step_at(plan: Plan, training: float) -> tuple[int, bool]:
    """Steps done after so many seconds of training, and whether an evaluation is going on."""
    if training >= training_seconds(plan):
        return plan.total_steps, False
    every = plan.eval_steps or plan.total_steps
    block_seconds = every * plan.seconds_per_step + EVAL_SECONDS
    blocks, within = divmod(training, block_seconds)
    in_block = min(every, int(within / plan.seconds_per_step))
    step = min(plan.total_steps, int(blocks) * every + in_block)
    return step, step > 0 and (in_block == every or step == plan.total_steps)


def logged_steps(plan: Plan, after: int, upto: int, limit: int) -> list[int]:
    """The first `limit` steps in (after, upto] at which the run logs: each logging step, each evaluation, the last."""
    upto = min(upto, plan.last_step)
    found: set[int] = set()
    for every in (plan.logging_steps, plan.eval_steps):
        if every:
            first = (max(after, 0) // every + 1) * every
            found.update(range(first, min(upto, first + (limit - 1) * every) + 1, every))
    if after < plan.total_steps <= upto:
        found.add(plan.total_steps)
    return sorted(found)[:limit]


def point(plan: Plan, step: int) -> dict[str, float]:
    """All values logged at `step`; times are real seconds, so that a page counts down what the person waits for."""
    share = step / plan.total_steps
    falling = math.exp(-4.5 * share)
    loss = smooth_loss(plan, step)
    shown = loss * (1 + 0.035 * _noise(plan.seed, step, 1))
    busy = 1 + 0.03 * _noise(plan.seed, step, 2)
    seconds = plan.seconds_per_step / plan.speed
    values: dict[str, float] = {
        "step": step,
        "epoch": round(step / plan.steps_per_epoch, 4),
        "loss": round(shown, 5),
        "learning_rate": learning_rate(plan, step),
        "grad_norm": round((0.35 + 1.4 * falling) * math.exp(0.18 * _noise(plan.seed, step, 3)), 5),
        "mean_token_accuracy": round(min(0.995, max(0.0, math.exp(-0.42 * shown))), 5),
        "tokens_per_second": round(plan.tokens_per_second * busy, 1),
        "samples_per_second": round(plan.samples_per_second * busy, 3),
        "gpu_utilization": round(min(100.0, 93.0 + 2.2 * _noise(plan.seed, step, 4)), 1),
        "gpu_memory_allocated_gb": round(plan.memory_gb * (1 + 0.004 * _noise(plan.seed, step, 5)), 3),
        "gpu_memory_reserved_gb": round(plan.memory_gb * 1.06, 3),
        "elapsed_seconds": round(step * seconds, 3),
        "remaining_seconds": round((plan.total_steps - step) * seconds, 3),
        "progress": round(100 * share, 3),
    }
    if step == plan.total_steps or (plan.eval_steps and step % plan.eval_steps == 0):
        # Validation loss falls more slowly, and creeps up at the end as it does when a run is a little too long.
        values["eval_loss"] = round((loss * 1.04 + 0.05 * share**3) * (1 + 0.006 * _noise(plan.seed, step, 6)), 5)
    return values


def smooth_loss(plan: Plan, step: int) -> float:
    """Falls exponentially from the plan's first loss to its last one; NaN once a run has diverged."""
    share = step / plan.total_steps
    loss = plan.last_loss + (plan.first_loss - plan.last_loss) * math.exp(-4.5 * share)
    if plan.diverges is None or share <= plan.diverges:
        return loss
    gone = (share - plan.diverges) / DIVERGES_WITHIN
    return loss * math.exp(2.5 * gone) if gone < 1 else math.nan


def learning_rate(plan: Plan, step: int) -> float:
    if step < plan.warmup_steps and plan.scheduler != "constant":
        return plan.learning_rate * step / plan.warmup_steps
    if plan.scheduler.startswith("constant"):
        return plan.learning_rate
    share = (step - plan.warmup_steps) / max(1, plan.total_steps - plan.warmup_steps)
    if plan.scheduler in ("linear", "polynomial"):
        return plan.learning_rate * max(0.0, 1 - share)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, share))))


def log_lines(plan: Plan, steps: Sequence[int]) -> list[str]:
    """The lines printed at these logged steps (ascending): a reader who gets each step once gets each line once."""
    lines = []
    for step in steps:
        before = max((step - 1) // every * every for every in (plan.logging_steps, plan.eval_steps) if every)
        if before == 0:
            lines += [
                "Simulated run: nothing is trained and the numbers are made up.",
                f"Plan: {plan.total_steps:,} steps, {plan.total_epochs:.2f} epochs, rate {plan.learning_rate:g}.",
            ]
        if step * 10 // plan.total_steps > before * 10 // plan.total_steps:
            lines.append(f"Step {step:,} of {plan.total_steps:,}: loss {smooth_loss(plan, step):.4f}")
    return lines


def _noise(seed: int, step: int, channel: int) -> float:
    """Close to a normal distribution (mean 0, deviation 1, never beyond 3.5), the same for the same arguments.

    One 64-bit mix (splitmix64) whose four 16-bit parts are added; a random generator for each point is far slower.
    """
    x = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + channel * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    x ^= x >> 31
    parts = (x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48)
    return (parts / 65536 - 2) * 1.7320508
