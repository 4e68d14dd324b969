"""Looks at the rules of live jobs and does what those say that have come true. Each fires once, until armed again.

A firing is one transaction: what it saw, the event that people are told by, and the order to save or stop. Whoever
dies before its end has done nothing, and the next look fires.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from pipeline import clock
from pipeline.models import EventType, Job, Rule
from pipeline.models.jobs import Desired
from pipeline.providers.registry import UnknownProvider, provider_class
from pipeline.rule_kinds import RuleAction, RuleKind
from pipeline.rules import State, Verdict, judge
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_checkpoint, request_stop
from pipeline.services.rule_facts import Case, gather
from pipeline.states import EndReason
from pipeline.transitions import record_event

logger = logging.getLogger(__name__)

# One statement for all. A rule that was changed, armed or fired meanwhile keeps what was written then.
_REMEMBER = """
    UPDATE pipeline_rule AS rule SET
        checked_seq = new.seq, checked_attempt = new.attempt, checked_step = new.step, checked_at = %s,
        standing_since = new.standing, waiting = new.waiting,
        saw = CASE WHEN new.saw <> '' OR rule.waiting THEN new.saw ELSE rule.saw END
    FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::int[], %s::bigint[], %s::timestamptz[], %s::bool[], %s::text[])
        AS new (id, version, seq, attempt, step, standing, waiting, saw)
    WHERE rule.id = new.id AND rule.version = new.version AND rule.fired_at IS NULL"""


def judge_due(now: datetime | None = None) -> int:
    """Judge every rule for which something may have come true. Return how many fired."""
    return _judge(gather(now := now or clock.now()), now)


def judge_job(job_id: UUID) -> int:
    """The same for one job, as soon as something noteworthy came. Safe to call twice, late, or never."""
    return _judge(gather(now := clock.now(), job_id), now)


def _judge(cases: Sequence[Case], now: datetime) -> int:
    verdicts = [
        (case, judge(RuleKind(case.rule.kind), case.rule.parameters, case.facts, now))
        for case in cases
    ]  # fmt: skip
    fired = sum(_fires(case, verdict) for case, verdict in verdicts if verdict.state is State.FIRED)
    _remember([(case, verdict) for case, verdict in verdicts if verdict.state is not State.FIRED], now)
    return fired


def _fires(case: Case, verdict: Verdict) -> bool:
    """One that cannot be carried out does not hold up the others; the next look tries again."""
    try:
        return _fire(case.rule, verdict, case.facts.attempt)
    except Exception:
        logger.exception("rule %s of job %s could not be carried out", case.rule.pk, case.rule.job_id)
        return False


def _fire(rule: Rule, verdict: Verdict, attempt: int) -> bool:
    job_id = rule.job_id
    assert job_id is not None
    with transaction.atomic():
        # The job's row first, as whoever changes a rule locks it.
        job = Job.objects.select_for_update(of=("self",)).filter(pk=job_id, desired=Desired.RUN).first()
        if job is None or not job.is_active:
            return False
        took = Rule.objects.filter(pk=rule.pk, version=rule.version, enabled=True, fired_at=None).update(
            fired_at=Now(), fired_step=verdict.step, saw=verdict.saw[:300], waiting=False, checked_at=Now()
        )
        if not took:
            return False
        stops = rule.action == RuleAction.STOP
        data = {
            "what": "fired", "rule": str(rule.pk), "kind": rule.kind, "action": rule.action, "saw": verdict.saw,
            "sentence": rule.sentence, "step": verdict.step,
        }  # fmt: skip
        message = f"{verdict.saw}. The rule says: {rule.sentence}"
        record_event(job_id, EventType.RULE, message, level="error" if stops else "warning", data=data, attempt=attempt)
        _act(job, rule, verdict)
    return True


def _act(job: Job, rule: Rule, verdict: Verdict) -> None:
    """What the rule asks for. Where the job needs it no more, having told is enough."""
    try:
        if rule.action == RuleAction.STOP:
            detail = f"{verdict.saw}. The rule says: {rule.sentence}"
            request_stop(job.pk, EndReason.STOPPED_BY_RULE, f"Stopping by a rule: {verdict.saw}.", detail=detail)
        elif rule.action == RuleAction.CHECKPOINT and _saves(job.provider):
            request_checkpoint(job.pk, message=f"A checkpoint was asked for by a rule: {verdict.saw}.")
    except Conflict as conflict:
        logger.info("job %s: the rule told and did nothing more: %s", job.pk, conflict)


def _saves(provider: str) -> bool:
    """Only our own program saves a checkpoint when asked; another would be asked for ever."""
    try:
        return provider_class(provider).runs_program
    except UnknownProvider:
        return False


def _remember(judged: Sequence[tuple[Case, Verdict]], now: datetime) -> None:
    if not judged:
        return
    columns = zip(
        *(
            (
                case.rule.pk,
                case.rule.version,
                case.rule.job.event_seq if case.rule.job else 0,
                case.facts.attempt,
                case.facts.step,
                verdict.standing_since,
                verdict.state is State.WAITING,
                verdict.saw[:300],
            )
            for case, verdict in judged
        ),
        strict=True,
    )
    with connection.cursor() as cursor:
        cursor.execute(_REMEMBER, [now, *(list(column) for column in columns)])
