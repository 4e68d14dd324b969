"""What a cluster's status object means in our terms. Pure: from the decoded JSON to a `Machine` and its `Report`.

Clusters differ in their words, so many are understood. A word that is not concludes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.providers.base import Machine, MachineRef, MachineState, Report
from training.contract import Outcome, Stage

_STARTING = "queued pending submitted accepted created scheduled scheduling waiting starting provisioning initializing"
_RUNNING = "running training in_progress processing active started preparing evaluating saving uploading"
_ENDING = "cancelling canceling stopping terminating"
_COMPLETED = "completed complete succeeded success finished done"
_FAILED = "failed failure error errored crashed timeout timed_out"
_STOPPED = "cancelled canceled stopped terminated aborted killed preempted evicted"
WORDS: dict[str, tuple[MachineState, Outcome | None]] = {
    **dict.fromkeys(_STARTING.split(), (MachineState.STARTING, None)),
    **dict.fromkeys(f"{_RUNNING} {_ENDING}".split(), (MachineState.RUNNING, None)),
    **dict.fromkeys(_COMPLETED.split(), (MachineState.GONE, Outcome.COMPLETED)),
    **dict.fromkeys(_FAILED.split(), (MachineState.GONE, Outcome.FAILED)),
    **dict.fromkeys(_STOPPED.split(), (MachineState.GONE, Outcome.STOPPED)),
}
_STAGES = {
    "preparing": Stage.PREPARING,
    "evaluating": Stage.EVALUATING,
    "saving": Stage.SAVING,
    "uploading": Stage.UPLOADING,
    **dict.fromkeys(_ENDING.split(), Stage.STOPPING),
}
_OUT_OF_MEMORY = re.compile(r"out[ _-]?of[ _-]?memory|\boom([ _-]?killed)?\b", re.IGNORECASE)
MAX_STEP = 2**53


def machine_of(ref: MachineRef, answer: Mapping[str, Any]) -> Machine:
    """The job of `ref` as its status object shows it."""
    word = _word(answer)
    state, outcome = WORDS.get(word, (MachineState.UNKNOWN, None))
    told = answer.get("job_id")
    if isinstance(told, str) and told != ref.name:
        state, outcome = MachineState.UNKNOWN, None
        detail = f"The cluster answered for another job, {plain(told, 80)}."
    else:
        detail = _detail(word, state, answer)
    failed = outcome is Outcome.FAILED
    return Machine(
        name=ref.name,
        external_id=ref.external_id,
        state=state,
        created_at=_time(answer.get("created_at")),
        outcome=outcome,
        reason="out_of_memory" if failed and _OUT_OF_MEMORY.search(f"{word} {_error(answer)}") else "",
        detail=detail,
        report=report_of(answer, ref.after_step) if state is not MachineState.UNKNOWN else None,
    )


def report_of(answer: Mapping[str, Any], after_step: int) -> Report:
    """The progress in a status object. Points at or before `after_step` were told before and are left out."""
    word = _word(answer)
    runs = WORDS.get(word, (None, None))[0] is MachineState.RUNNING
    return Report(
        points=_points(answer, after_step),
        total_steps=_whole(answer.get("total_steps")) or None,
        total_epochs=_number(answer.get("total_epochs")),
        stage=_STAGES.get(word, Stage.TRAINING) if runs else "",
    )


def plain(value: Any, limit: int) -> str:
    """Text of others as one line that any database and page can hold."""
    text = " ".join(str(value).replace("\x00", "").split())[:limit]
    return text.encode("utf-8", "replace").decode()


def _word(answer: Mapping[str, Any]) -> str:
    told = answer.get("status")
    return re.sub(r"[\s-]+", "_", told.strip().lower()) if isinstance(told, str) else ""


def _detail(word: str, state: MachineState, answer: Mapping[str, Any]) -> str:
    said = f"The cluster says “{plain(word.replace('_', ' '), 60) or 'nothing'}”"
    if state is MachineState.UNKNOWN:
        return f"{said}, and it is not known what that means."
    step, error = _whole(answer.get("current_step")), _error(answer)
    return f"{said}{f' at step {step:,}' if step else ''}{f': {error}' if error else ''}".rstrip(".") + "."


def _error(answer: Mapping[str, Any]) -> str:
    told = answer.get("error")
    if isinstance(told, Mapping):
        told = told.get("message") or told.get("detail") or ""
    return plain(told, 2_000) if isinstance(told, str) else ""


def _points(answer: Mapping[str, Any], after_step: int) -> list[dict[str, Any]]:
    """`metrics` is the newest values, or a list of points with a step each. Without any step there is no point."""
    told = answer.get("metrics")
    given = told if isinstance(told, list) else [told if isinstance(told, Mapping) else {}]
    by_step: dict[int, dict[str, Any]] = {}
    for row in given or [{}]:
        if not isinstance(row, Mapping):
            continue
        step = _whole(row.get("step"))
        if step is None and (not isinstance(told, list) or not told):
            step = _whole(answer.get("current_step"))
        if step is not None and step > after_step:
            values = {str(key): value for key, value in row.items() if isinstance(value, int | float | str)}
            by_step.setdefault(step, {}).update(values | {"step": step})
    if by_step:
        beside = {"epoch": _number(answer.get("current_epoch")), "progress": _number(answer.get("progress"))}
        newest = by_step[max(by_step)]
        newest.update({key: value for key, value in beside.items() if value is not None and key not in newest})
    return [by_step[step] for step in sorted(by_step)]


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():  # neither is NaN or an infinity
        return None
    return int(value) if 0 <= value <= MAX_STEP else None


def _number(value: Any) -> float | None:
    """A finite number."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_STEP
    return value if usable else None


def _time(value: Any) -> datetime | None:
    """ISO 8601 or seconds since 1970; what has no zone is UTC."""
    try:
        if isinstance(value, str):
            told = datetime.fromisoformat(value)
            return told if told.tzinfo else told.replace(tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC) if _number(value) else None
    except (ValueError, OverflowError, OSError):
        return None
