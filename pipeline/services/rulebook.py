"""What people do with rules: keep defaults, give them to jobs, change, arm and delete them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypedDict
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction

from pipeline import rule_kinds
from pipeline.models import EventType, Job, Preset, Rule
from pipeline.rule_kinds import RuleAction, RuleKind
from pipeline.services.errors import Conflict, FieldError, InvalidInput
from pipeline.transitions import record_event

MOST_RULES = 20  # of a job, and as many defaults

# What a rule is again when it was changed or armed: nothing of what it saw counts.
_UNSEEN: dict[str, Any] = {
    "checked_seq": 0, "checked_attempt": 0, "checked_step": 0, "checked_at": None, "standing_since": None,
    "waiting": False, "saw": "", "fired_at": None, "fired_step": None,
}  # fmt: skip
_WRITTEN = ("kind", "parameters", "action", "enabled", "version", "armed_seq", "updated_at", *_UNSEEN)


class RuleState(StrEnum):
    """Where a rule stands, for people."""

    DEFAULT = "default"  # given to new jobs
    OFF = "off"
    ARMED = "armed"
    WAITING = "waiting"  # nothing can be concluded yet
    FIRED = "fired"
    OVER = "over"  # its job ended before it fired


class Changes(TypedDict, total=False):
    """What a person may set of a rule; what is left out stays."""

    kind: str
    parameters: Mapping[str, Any]
    action: str
    enabled: bool


class Stale(Conflict):
    """Somebody changed the rule meanwhile. `current` is what it is now."""

    def __init__(self, current: Rule):
        super().__init__(
            "This rule was changed since you opened it, perhaps in another tab. Look at what it says now, then change "
            "it again if you still want to.",
            code="stale_version",
        )
        self.current = current


def checked(given: Mapping[str, Any], field: str = "") -> tuple[dict[str, Any], list[FieldError]]:
    """One asked-for rule as complete columns of `Rule`, and everything that is wrong with it below `field`."""
    path = f"{field}." if field else ""
    kind, action = given.get("kind"), given.get("action", RuleAction.NOTIFY)
    errors = []
    if action not in RuleAction.values:
        errors.append(FieldError(f"{path}action", f"Choose one of: {', '.join(RuleAction.values)}."))
    if kind not in RuleKind.values:
        errors.append(FieldError(f"{path}kind", f"Choose one of: {', '.join(RuleKind.values)}."))
        return {}, errors
    values, problems = rule_kinds.validate(RuleKind(kind), given.get("parameters", {}))
    errors += [FieldError(f"{path}parameters.{name}".rstrip("."), text) for name, text in problems]
    columns = {"kind": kind, "parameters": values, "action": action, "enabled": bool(given.get("enabled", True))}
    return columns, errors


def check_all(given: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """Everything that is wrong with the rules asked for a new job."""
    if len(given) > MOST_RULES:
        return [FieldError("rules", f"A job has at most {MOST_RULES} rules.")]
    return [error for index, one in enumerate(given) for error in checked(one, f"rules.{index}")[1]]


# Defaults


def defaults_of(owner: User) -> list[Rule]:
    """What a person's jobs get, switched off or not. Everybody has the built-in ones, from the first look on."""
    found = list(Rule.objects.defaults_of(owner))
    missing = {kind for kind, _, _ in rule_kinds.BUILT_IN} - {one.kind for one in found if one.built_in}
    if missing:
        Rule.objects.bulk_create(
            [
                Rule(owner=owner, built_in=True, kind=kind, parameters=values, action=action)
                for kind, values, action in rule_kinds.BUILT_IN
                if kind in missing
            ],
            ignore_conflicts=True,
        )
        found = list(Rule.objects.defaults_of(owner))
    return found


def for_new_job(owner: User, preset: Preset | None) -> list[dict[str, Any]]:
    """The rules a job gets when none are asked for: its owner's and its preset's.

    Of two about the same thing the preset's counts: it was made for what the job does.
    """
    by_thing: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for rules in (defaults_of(owner), list(preset.rules.all()) if preset else []):
        mine: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for rule in rules:
            mine.setdefault((rule.kind, rule.parameters.get("metric", "")), []).append(as_given(rule))
        by_thing |= mine
    return [one for same in by_thing.values() for one in same if one["enabled"]][:MOST_RULES]


def as_given(rule: Rule) -> dict[str, Any]:
    """What a rule was made with, to make another one like it."""
    return {"kind": rule.kind, "parameters": rule.parameters, "action": rule.action, "enabled": rule.enabled}


def give(job: Job, rules: Sequence[Mapping[str, Any]]) -> None:
    """Make these rules, which were checked, the ones of a new job."""
    Rule.objects.bulk_create([Rule(owner_id=job.owner_id, job=job, **checked(one)[0]) for one in rules])


# One rule


def state_of(rule: Rule) -> RuleState:
    """Where a rule stands; a job's rule best comes with its job."""
    if rule.fired_at is not None:
        return RuleState.FIRED
    if not rule.enabled:
        return RuleState.OFF
    if rule.job is None:
        return RuleState.DEFAULT
    if rule.job.has_ended:
        return RuleState.OVER
    return RuleState.WAITING if rule.waiting else RuleState.ARMED


def add_default(owner: User, given: Mapping[str, Any]) -> Rule:
    """Raise InvalidInput for what cannot be, Conflict when there are too many."""
    columns = _valid(given)
    with transaction.atomic():
        User.objects.select_for_update().get(pk=owner.pk)
        if len(defaults_of(owner)) >= MOST_RULES:
            raise Conflict(
                f"You have {MOST_RULES} default rules, which is the most. Delete one first.", code="too_many"
            )
        return Rule.objects.create(owner=owner, **columns)


def add(job_id: UUID, given: Mapping[str, Any], *, actor: str = "") -> Rule:
    """Give a job one more rule, also while it runs; it looks at what comes from now on. Raise as `add_default`."""
    columns = _valid(given)
    with transaction.atomic():
        job = _locked(job_id)
        if job.rules.count() >= MOST_RULES:
            raise Conflict(f"This job has {MOST_RULES} rules, which is the most. Delete one first.", code="too_many")
        seq = record_event(job_id, EventType.RULE, f"New rule: {_words(columns)}", data={"what": "added"}, actor=actor)
        return Rule.objects.create(owner_id=job.owner_id, job=job, armed_seq=seq.seq, **columns)


def change(rule_id: UUID, version: int, changes: Changes, *, actor: str = "") -> Rule:
    """Change a rule that is at `version`, and arm it. Raise Stale when it is not, InvalidInput, or Conflict."""
    with transaction.atomic():
        rule, job = _rule(rule_id, version)
        kind = changes.get("kind", rule.kind)
        # Another kind has other parameters: what is not given gets its default.
        parameters = changes.get("parameters", rule.parameters if kind == rule.kind else {})
        columns = _valid(as_given(rule) | changes | {"kind": kind, "parameters": parameters})
        if rule.built_in and kind != rule.kind:
            raise Conflict("This rule comes with every account and keeps its kind. Switch it off instead.", code="kept")
        what = _what_changed(rule, columns)
        for name, value in columns.items():
            setattr(rule, name, value)
        _arm(rule, job, what, actor)
    return rule


def arm(rule_id: UUID, *, actor: str = "") -> Rule:
    """Let a rule that fired fire again, for what comes from now on. Raise Conflict when its job has ended."""
    with transaction.atomic():
        rule, job = _rule(rule_id, None)
        if job is None:
            raise Conflict("A default rule watches nothing itself, so there is nothing to arm.", code="no_job")
        if rule.fired_at is not None:
            _arm(rule, job, "Armed again", actor)
    return rule


def remove(rule_id: UUID, version: int, *, actor: str = "") -> None:
    """Delete a rule that is at `version`. Raise Stale when it is not, Conflict for one that everybody has."""
    with transaction.atomic():
        rule, job = _rule(rule_id, version)
        if rule.built_in:
            raise Conflict("This rule comes with every account. Switch it off instead.", code="kept")
        if job is not None:
            message = f"Rule deleted: {rule.sentence}"
            record_event(job.pk, EventType.RULE, message, data={"what": "deleted"}, actor=actor)
        rule.delete()


def _rule(rule_id: UUID, version: int | None) -> tuple[Rule, Job | None]:
    """A rule and its job, both locked, the job first as everywhere."""
    job_id = Rule.objects.values_list("job_id", flat=True).get(pk=rule_id)
    job = _locked(job_id) if job_id else None
    rule = Rule.objects.select_for_update(of=("self",)).select_related("job").get(pk=rule_id)
    if version is not None and rule.version != version:
        raise Stale(rule)
    return rule, job


def _locked(job_id: UUID) -> Job:
    job = Job.objects.select_for_update(of=("self",)).get(pk=job_id)
    if job.has_ended:
        raise Conflict("This job has ended, so its rules change nothing more.", code="already_ended")
    return job


def _arm(rule: Rule, job: Job | None, what: str, actor: str) -> None:
    for name, value in _UNSEEN.items():
        setattr(rule, name, value)
    rule.version += 1
    if job is not None:
        data = {"what": "changed", "rule": str(rule.pk)}
        event = record_event(job.pk, EventType.RULE, f"{what}: {rule.sentence}", data=data, actor=actor)
        rule.armed_seq = event.seq
    rule.save(update_fields=_WRITTEN)


def _what_changed(rule: Rule, columns: Mapping[str, Any]) -> str:
    if rule.enabled != columns["enabled"]:
        return "Rule switched on" if columns["enabled"] else "Rule switched off"
    return "Rule changed"


def _valid(given: Mapping[str, Any]) -> dict[str, Any]:
    columns, errors = checked(given)
    if errors:
        raise InvalidInput(errors)
    return columns


def _words(columns: Mapping[str, Any]) -> str:
    return rule_kinds.sentence(RuleKind(columns["kind"]), columns["parameters"], RuleAction(columns["action"]))
