"""Every text a notification says, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from notifications.models import Kind, Priority
from pipeline.models import Job, JobEvent
from pipeline.rule_kinds import RuleAction, RuleKind
from pipeline.states import EndReason
from pipeline.texts import ending_text, is_simulated, reason_text, usd

MAX_ERROR = 400


@dataclass(frozen=True)
class Losses:
    first: float | None = None
    last: float | None = None


@dataclass(frozen=True)
class Text:
    kind: Kind
    title: str
    message: str
    priority: Priority = Priority.NORMAL
    metadata: dict[str, Any] = field(default_factory=dict)


def started(job: Job) -> Text:
    count = f"{job.gpu_count} × " if job.gpu_count > 1 else ""
    return Text(Kind.JOB_STARTED, f"{job.name} has started", f"{count}{job.gpu_type} at {job.provider}.", Priority.LOW)


def completed(job: Job, losses: Losses) -> Text:
    what_now = (
        reason_text(job.reason, job.provider) if is_simulated(job.provider) else "The adapter is ready to download."
    )
    facts = [_loss(losses), _duration(job), _cost(job), what_now]
    return Text(
        Kind.JOB_COMPLETED,
        f"{job.name} is completed",
        " ".join(fact for fact in facts if fact),
        metadata={"first_loss": losses.first, "last_loss": losses.last},
    )


def failed(job: Job) -> Text:
    reason = reason_text(job.reason, job.provider)
    said = _first_line(job.error_message)
    facts = [reason, f"It said: {said}" if said and said not in reason else "", _cost(job)]
    return Text(
        Kind.JOB_FAILED,
        f"{job.name} failed",
        " ".join(fact for fact in facts if fact),
        Priority.HIGH,
        {"reason": job.reason},
    )


def cancelled(job: Job, losses: Losses) -> Text:
    reason = ending_text(job)
    asked = job.reason == EndReason.CANCELLED_BY_USER
    facts = [reason, _loss(losses), _duration(job), _cost(job)]
    return Text(
        Kind.JOB_CANCELLED,
        f"{job.name} is cancelled" if asked else f"{job.name} was stopped",
        " ".join(fact for fact in facts if fact),
        Priority.LOW if asked else Priority.HIGH,
        {"reason": job.reason},
    )


def budget_alert(job: Job, event: JobEvent) -> Text:
    """At 80 per cent there is time, at 90 soon none; at 100 the job is being stopped. An empty account is as urgent."""
    percent, month = event.data.get("percent"), event.data.get("scope") == "month"
    whose = "The month" if month else job.name
    if percent is None:
        title = "An account is nearly empty"
    elif percent >= 100:
        title = f"{whose} has reached its limit" if month else f"{job.name} has reached its budget"
    else:
        title = f"{whose} has used {percent} % of its {'limit' if month else 'budget'}"
    names = ("percent", "scope", "spent", "limit", "projected", "left", "per_hour")
    return Text(
        Kind.BUDGET_ALERT,
        title,
        event.message,
        Priority.NORMAL if percent is not None and percent < 90 else Priority.HIGH,
        {name: event.data[name] for name in names if name in event.data},
    )


# What a rule of this kind found out; all others have the same words.
_RULES = {
    RuleKind.LOSS_NOT_FINITE: (Kind.LOSS_DIVERGED, "has diverged"),
    RuleKind.LOSS_ABOVE: (Kind.LOSS_DIVERGED, "has diverged"),
    RuleKind.NO_PROGRESS: (Kind.JOB_STALLED, "makes no progress"),
    RuleKind.NO_BETTER_EVAL: (Kind.RULE_FIRED, "gets no better"),
    RuleKind.GPU_IDLE: (Kind.RULE_FIRED, "leaves its GPU idle"),
    RuleKind.COST_ABOVE: (Kind.RULE_FIRED, "costs more than its rule allows"),
}
_DONE = {RuleAction.STOP: "The job saves a checkpoint and stops.", RuleAction.CHECKPOINT: "It saves a checkpoint."}


def kind_of_rule(event: JobEvent) -> Kind:
    return _RULES.get(event.data.get("kind", ""), (Kind.RULE_FIRED, ""))[0]


def rule_fired(job: Job, event: JobEvent) -> Text:
    data = event.data
    kind, what = _RULES.get(data.get("kind", ""), (Kind.RULE_FIRED, "has set off a rule"))
    facts = [f"{data.get('saw', '')}.", f"The rule says: {data.get('sentence', '')}", _DONE.get(data.get("action", ""))]
    stops = data.get("action") == RuleAction.STOP
    return Text(
        kind,
        f"{job.name} {what}",
        " ".join(fact for fact in facts if fact),
        Priority.HIGH if stops or kind is not Kind.RULE_FIRED else Priority.NORMAL,
        {name: data.get(name) for name in ("rule", "kind", "action", "saw", "step")},
    )


def _loss(losses: Losses) -> str:
    if losses.first is None or losses.last is None:
        return ""
    return f"Loss {losses.first:.4f} → {losses.last:.4f}."


def _duration(job: Job) -> str:
    begun = job.started_at or job.queued_at
    if begun is None or job.completed_at is None:
        return ""
    return f"Took {_shown(job.completed_at - begun)}."


def _cost(job: Job) -> str:
    cost = job.final_cost if job.final_cost is not None else job.current_cost
    return f"Cost {usd(cost)}." if cost else ""


def _shown(duration: timedelta) -> str:
    seconds = max(0, round(duration.total_seconds()))
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= MAX_ERROR else line[: MAX_ERROR - 1] + "…"
