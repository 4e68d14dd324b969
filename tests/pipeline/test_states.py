from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from pipeline.models import Attempt, Job, JobEvent
from pipeline.states import ACTIVE, CONSEQUENCES, STAGES, TERMINAL, TRANSITIONS, AttemptState, EndReason, JobStatus
from pipeline.transitions import advance
from tests.factories import make_attempt, make_job, make_running_job, make_user
from tests.fakes.provider import World
from training.contract import FailureReason, Stage

pytestmark = pytest.mark.django_db


def test_every_status_is_active_or_terminal_or_pending() -> None:
    assert ACTIVE | TERMINAL | {JobStatus.PENDING} == set(JobStatus)
    assert set(TRANSITIONS) == set(JobStatus)
    assert all(not TRANSITIONS[status] for status in TERMINAL)


def test_every_reason_has_one_consequence_with_a_text() -> None:
    assert set(CONSEQUENCES) == set(EndReason)
    for reason, consequence in CONSEQUENCES.items():
        assert consequence.status in TERMINAL, reason
        assert consequence.text.endswith("."), reason
        assert consequence.who_acts in {"nobody", "user", "operator"}, reason


def test_the_programs_words_are_the_servers_words() -> None:
    assert {reason.value for reason in FailureReason} <= set(EndReason.values)
    assert {stage.value for stage in Stage} <= set(STAGES)


def test_the_documented_diagram_shows_exactly_these_moves() -> None:
    page = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text()
    drawn = set(re.findall(r"^ +(\w+) --> (\w+)$", page, re.MULTILINE))
    assert drawn == {(start.value, to.value) for start, targets in TRANSITIONS.items() for to in targets}


@pytest.mark.parametrize(("start", "to"), list(itertools.product(JobStatus, JobStatus)))
def test_only_moves_in_the_table_happen(start: JobStatus, to: JobStatus, world: World) -> None:
    job = _job_in(start)
    before = JobEvent.objects.filter(job=job).count()
    ending: dict[str, Any] = {"reason": EndReason.COMPLETED, "final_cost": 0} if to in TERMINAL else {}
    if to is JobStatus.CANCELLING:
        ending = {"desired": "stop", "stop_reason": "cancelled_by_user", "stop_requested_at": Now()}
    moved = advance(job.pk, to, "Moved.", stage="ended", **ending)
    job.refresh_from_db()
    allowed = to in TRANSITIONS[start]
    assert moved is allowed
    assert job.status == (to if allowed else start)
    assert JobEvent.objects.filter(job=job).count() == before + allowed


def test_a_job_never_has_two_live_attempts(world: World) -> None:
    job, _, _ = make_running_job(make_user())
    with pytest.raises(IntegrityError), transaction.atomic():
        make_attempt(job)


def test_an_attempt_is_not_gone_without_evidence(world: World) -> None:
    _, attempt, _ = make_running_job(make_user())
    with pytest.raises(IntegrityError), transaction.atomic():
        Attempt.objects.filter(pk=attempt.pk).update(state=AttemptState.GONE)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"status": "exploded"},
        {"status": "completed"},
        {"status": "cancelling"},
        {"reason": "completed"},
        {"next_check_at": None},
        {"progress": 101},
        {"progress": float("nan")},
        {"desired": "stop"},
        {"current_cost": -1},
        {"budget_limit": 0},
        {"gpu_count": 0},
    ],
    ids=str,
)
def test_the_database_refuses_wrong_rows(nonsense: dict[str, Any], world: World) -> None:
    job, _, _ = make_running_job(make_user())
    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**nonsense)


def _job_in(status: JobStatus) -> Job:
    job = make_job(make_user())
    fields: dict[str, Any] = {"status": status, "next_check_at": Now()}
    if status in TERMINAL:
        fields |= {"completed_at": Now(), "final_cost": 0, "reason": EndReason.COMPLETED}
    if status is JobStatus.CANCELLING:
        fields |= {"desired": "stop", "stop_reason": "cancelled_by_user", "stop_requested_at": Now()}
    Job.objects.filter(pk=job.pk).update(**fields)
    return job
