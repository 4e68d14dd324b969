"""The trainer's callback: metrics, plan, checkpoints out; stop and save requests in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from training import parallel
from training.artifacts import CheckpointUploader
from training.contract import EventKind, Stage
from training.gpu import Gauges
from training.progress import Pace, plain_numbers
from training.reporter import Reporter
from training.stopping import StopSignal

NOTHING, SAVE, STOP = 0, 1, 2


class Report(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Every rank has one, because all ranks must stop at the same step; only the one with a reporter speaks."""

    def __init__(
        self,
        stop: StopSignal,
        reporter: Reporter | None,
        uploader: CheckpointUploader | None,
        gauges: Gauges,
        plan: dict[str, Any],
        rows_per_step: int,
    ) -> None:
        self._stop = stop
        self._reporter = reporter
        self._uploader = uploader
        self._gauges = gauges
        self._plan = plan
        self._pace = Pace(rows_per_step)
        self._evaluating = False
        self._last_record: dict[str, float] = {}
        self.evaluated_step = -1

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pace.begin(state.global_step)
        if self._reporter is None:
            return
        epochs = float(args.num_train_epochs)
        if args.max_steps > 0 and (batches := _length(kwargs.get("train_dataloader"))):
            epochs = args.max_steps * args.gradient_accumulation_steps / batches
        plan = {"total_steps": state.max_steps, "total_epochs": round(epochs, 4), **self._plan}
        self._reporter.log(EventKind.PLAN, plan)
        self._reporter.stage(Stage.TRAINING)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if self._reporter is None:
            return
        values = plain_numbers(logs or {})
        if not values:
            return
        if "loss" in values:
            values |= self._pace.record(
                state.global_step, state.max_steps, values.get("num_tokens", values.get("num_input_tokens_seen"))
            )
            self._last_record = values
        self._reporter.metric(state.global_step, {**values, **self._gauges()})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # All act in the same step, or those that wait for each other hang.
        wanted = parallel.agree(STOP if self._stop.is_set else SAVE if self._stop.save_requested else NOTHING)
        if wanted == STOP:
            if not self._stop.is_set:  # another rank got the signal
                self._stop.ask_by_signal()
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False
            if self._reporter:
                self._reporter.stage(Stage.STOPPING)
        elif wanted == SAVE:
            self._stop.save_requested = False
            control.should_save = True
        if control.should_evaluate or control.should_save:
            self._pace.pause()  # until on_evaluate or on_save
        self._evaluating = bool(control.should_evaluate)
        if self._evaluating and self._reporter:
            self._reporter.stage(Stage.EVALUATING)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.evaluated_step = state.global_step
        self._pace.go_on()
        if self._evaluating and self._reporter:
            self._reporter.stage(Stage.TRAINING)
        self._evaluating = False
        if control.should_save:
            self._pace.pause()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pace.go_on()
        parallel.agree(NOTHING)  # each rank writes files of its own into a checkpoint: it is whole when all are here
        if self._reporter is None:
            return
        metrics = {name: self._last_record[name] for name in ("loss", "epoch") if name in self._last_record}
        self._reporter.log(EventKind.CHECKPOINT, {"step": state.global_step, "metrics": metrics})
        if self._uploader:
            self._uploader.add(state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _length(loader: Any) -> int:
    try:
        return len(loader)
    except TypeError:
        return 0
