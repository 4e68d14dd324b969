"""What the rules of live jobs are judged by, read for all of them at once: as many queries for one job as for many."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import F, OuterRef, Q, Subquery

from pipeline.costs import LIVE_JOBS
from pipeline.models import Attempt, Rule
from pipeline.models.jobs import Desired
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.rule_kinds import MOST_POINTS, RuleKind
from pipeline.rules import LOSSES, Evaluation, Facts, Reading, Standing, Window, longest_gap
from pipeline.states import JobStatus

# Judged at each look, whether or not anything came.
BY_THE_CLOCK = (RuleKind.NO_PROGRESS, RuleKind.COST_ABOVE)
MOST_NEW = 1000  # readings since the last look
MOST_EVALUATIONS = 2000
MOST_IN_WINDOW = 20_000

# The value of the metric `wanted.name` in the row `point`. Column names are constants.
_VALUE = (
    "CASE wanted.name "
    + " ".join(f"WHEN '{name}' THEN point.{name}" for name in METRIC_COLUMNS)
    + " ELSE (point.extra->>wanted.name)::float8 END"
)
_NAMED = f"""
    SELECT step, seq, value, word FROM (
        SELECT point.step, point.seq, {_VALUE} AS value, point.nonfinite->>wanted.name AS word
        FROM pipeline_metricpoint point
        WHERE point.job_id = wanted.job AND point.attempt = wanted.attempt AND point.seq > wanted.armed AND %s
    ) named WHERE value IS NOT NULL OR word IS NOT NULL"""  # noqa: S608 - constants
_READINGS = f"""
    SELECT wanted.rule, wanted.name, found.step, found.value, found.word
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::int[], %s::bigint[], %s::bigint[], %s::bool[])
        AS wanted (rule, job, name, attempt, armed, since, before)
    CROSS JOIN LATERAL (
        ({_NAMED % "point.seq > wanted.since"} ORDER BY seq DESC, step DESC LIMIT {MOST_NEW})
        UNION ALL
        ({_NAMED % "point.seq <= wanted.since AND wanted.before"} ORDER BY seq DESC, step DESC LIMIT {MOST_POINTS})
    ) found
    ORDER BY found.step"""  # noqa: S608
# A resumed run repeats steps: what lies beyond the step it is at now belongs to a past that was undone.
_EVALUATIONS = f"""
    SELECT wanted.rule, found.step, found.value, found.seq > wanted.armed
    FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::bigint[], %s::bigint[])
        AS wanted (rule, job, name, armed, upto)
    CROSS JOIN LATERAL (
        (SELECT point.step, point.seq, point.eval_loss AS value FROM pipeline_metricpoint point
         WHERE wanted.name = 'eval_loss' AND point.job_id = wanted.job AND point.step <= wanted.upto
             AND point.eval_loss IS NOT NULL ORDER BY point.step DESC LIMIT {MOST_EVALUATIONS})
        UNION ALL
        (SELECT step, seq, value FROM (
            SELECT point.step, point.seq, {_VALUE} AS value FROM pipeline_metricpoint point
            WHERE wanted.name <> 'eval_loss' AND point.job_id = wanted.job AND point.step <= wanted.upto
         ) named WHERE value IS NOT NULL ORDER BY step DESC LIMIT {MOST_EVALUATIONS})
    ) found
    ORDER BY found.step"""  # noqa: S608
_WINDOWS = f"""
    SELECT wanted.rule, found.highest, found.covers, found.gap, found.step
    FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::bigint[], %s::interval[])
        AS wanted (rule, job, attempt, armed, span)
    CROSS JOIN LATERAL (
        SELECT max(value) AS highest, max(at) - min(at) AS covers, COALESCE(max(gap), '0') AS gap, max(step) AS step
        FROM (
            SELECT at, value, step, at - lag(at) OVER (ORDER BY at) AS gap FROM (
                SELECT at, value, step, max(at) OVER () AS newest FROM (
                    SELECT point.at, point.gpu_utilization AS value, point.step FROM pipeline_metricpoint point
                    WHERE point.job_id = wanted.job AND point.attempt = wanted.attempt AND point.seq > wanted.armed
                        AND point.gpu_utilization IS NOT NULL
                    ORDER BY point.seq DESC, point.step DESC LIMIT {MOST_IN_WINDOW}
                ) lately
            ) dated WHERE at >= newest - wanted.span
        ) spaced
    ) found
    WHERE found.highest IS NOT NULL"""  # noqa: S608
_COSTS = f"SELECT id, cost FROM ({LIVE_JOBS}) live WHERE id = ANY(%(jobs)s)"  # noqa: S608


@dataclass(frozen=True)
class Case:
    """A rule that may fire now, with what it is judged by."""

    rule: Rule
    facts: Facts


def gather(now: datetime, job_id: UUID | None = None) -> list[Case]:
    """Every rule of a live job, or of this one, for which something may have come true since it was looked at."""
    rules = _due(job_id)
    readings, evaluations = _readings(rules), _evaluations(rules)
    windows, costs = _windows(rules), _costs(rules, now)
    return [
        Case(
            rule,
            Facts(
                running=rule.job.status == JobStatus.RUNNING,
                stage=rule.job.current_stage,
                attempt=rule.attempt_n,
                step=rule.job.current_step,
                logged=rule.job.current_metrics,
                readings=readings.get(rule.pk, ()),
                evaluations=evaluations.get(rule.pk, ()),
                window=windows.get(rule.pk),
                cost=costs.get(rule.job_id, Decimal(0)),
                standing=_standing(rule),
            ),
        )
        for rule in rules
    ]


def _due(job_id: UUID | None) -> list[Any]:
    """Rules with their job and the number of its present attempt. Typed loosely for that number."""
    latest = Attempt.objects.filter(job=OuterRef("job_id")).order_by("-n").values("n")[:1]
    moved = Q(job__event_seq__gt=F("checked_seq")) | Q(kind__in=BY_THE_CLOCK) | Q(checked_at=None)
    training = Q(job__status=JobStatus.RUNNING) | Q(job__status=JobStatus.INITIALIZING, kind=RuleKind.COST_ABOVE)
    rules = (
        Rule.objects.filter(training, moved, job__desired=Desired.RUN, enabled=True, fired_at=None)
        .select_related("job")
        .only(
            *(field.name for field in Rule._meta.local_concrete_fields),
            *(f"job__{name}" for name in ("status", "current_stage", "current_step", "current_metrics", "event_seq")),
        )
        .annotate(attempt_n=Subquery(latest))
    )
    if job_id is not None:
        rules = rules.filter(job=job_id)
    return [rule for rule in rules if rule.attempt_n is not None]


def _readings(rules: Sequence[Any]) -> dict[UUID, list[Reading]]:
    wanted = [
        (rule.pk, rule.job_id, name, rule.attempt_n, rule.armed_seq, rule.checked_seq,
         rule.parameters.get("points", 1) > 1)
        for rule in rules
        for name in _metrics(rule)
        if rule.job.status == JobStatus.RUNNING and name in rule.job.current_metrics
    ]  # fmt: skip
    found: defaultdict[UUID, list[Reading]] = defaultdict(list)
    for pk, name, step, value, word in _rows(_READINGS, wanted):
        found[pk].append(Reading(name, step, value, word or ""))
    return found


def _metrics(rule: Rule) -> Sequence[str]:
    match rule.kind:
        case RuleKind.LOSS_NOT_FINITE:
            return LOSSES
        case RuleKind.LOSS_ABOVE | RuleKind.METRIC_THRESHOLD:
            return (rule.parameters["metric"],)
    return ()


def _evaluations(rules: Sequence[Any]) -> dict[UUID, list[Evaluation]]:
    wanted = [
        (rule.pk, rule.job_id, rule.parameters["metric"], rule.armed_seq, rule.job.current_step)
        for rule in rules
        if rule.kind == RuleKind.NO_BETTER_EVAL and rule.parameters["metric"] in rule.job.current_metrics
    ]
    found: defaultdict[UUID, list[Evaluation]] = defaultdict(list)
    for pk, step, value, counts in _rows(_EVALUATIONS, wanted):
        found[pk].append(Evaluation(step, value, counts))
    return found


def _windows(rules: Sequence[Any]) -> dict[UUID, Window]:
    # A reading before the window's start belongs to it: without one, the start would be a hole.
    wanted = [
        (rule.pk, rule.job_id, rule.attempt_n, rule.armed_seq, 4 * longest_gap(rule.parameters["minutes"]))
        for rule in rules
        if rule.kind == RuleKind.GPU_IDLE and "gpu_utilization" in rule.job.current_metrics
    ]
    return {pk: Window(highest, covers, gap, step) for pk, highest, covers, gap, step in _rows(_WINDOWS, wanted)}


def _costs(rules: Sequence[Any], now: datetime) -> dict[UUID, Decimal]:
    jobs = [rule.job_id for rule in rules if rule.kind == RuleKind.COST_ABOVE]
    if not jobs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_COSTS, {"now": now, "jobs": jobs})
        return dict(cursor.fetchall())


def _standing(rule: Rule) -> Standing | None:
    if rule.standing_since is None or rule.checked_at is None:
        return None
    return Standing(rule.checked_attempt, rule.checked_step, rule.standing_since, rule.checked_at)


def _rows(statement: str, wanted: Collection[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if not wanted:
        return []
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(column) for column in zip(*wanted, strict=True)])
        return cursor.fetchall()
