"""What must be true at any moment, and once everything is quiet."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from pipeline.models import Attempt, Job, JobEvent
from pipeline.states import ATTEMPT_CLOSED, TERMINAL, AttemptState

CLOSED = [state.value for state in ATTEMPT_CLOSED]
ENDED = [status.value for status in TERMINAL]


def always(endings: dict[object, tuple[str, str]]) -> None:
    """I3, I4 and I10; `endings` remembers what was said of jobs that had ended before."""
    open_attempts = Counter(Attempt.objects.exclude(state__in=CLOSED).values_list("job_id", flat=True))
    assert all(count == 1 for count in open_attempts.values()), "I1: two open attempts of one job"
    ended = Job.objects.filter(status__in=ENDED)
    assert not open_attempts.keys() & set(ended.values_list("pk", flat=True)), "I3: ended with an open attempt"
    unproven = Attempt.objects.filter(state=AttemptState.GONE).filter(gone_evidence="")
    assert not unproven.exists(), "I3: gone without evidence"
    for job_id, status, reason in ended.values_list("pk", "status", "reason"):
        assert endings.setdefault(job_id, (status, reason)) == (status, reason), "I4: an ended job changed"
    numbers_have_no_holes()


def numbers_have_no_holes() -> None:
    """I10: events come in the order of their numbers, none twice, and each move of a job has one event."""
    for job in Job.objects.all():
        events = list(JobEvent.objects.filter(job=job).order_by("seq").values_list("seq", "kind", "data"))
        numbers = [seq for seq, _, _ in events]
        assert len(numbers) == len(set(numbers)), "I10: a number was given twice"
        assert not numbers or numbers[-1] <= job.event_seq, "I10: a number was never allocated"
        moves = [data["to"] for _, kind, data in events if kind == "status"]
        assert moves[-1:] == [job.status], f"I10: the last event says {moves[-1:]}, the job is {job.status}"
        assert all(a != b for a, b in itertools.pairwise(moves)), "I10: one move, two events"


def at_rest(machines: Iterable[str]) -> None:
    """I2: what still runs outside belongs to a live attempt; I8: no job is left that somebody should look after."""
    waited_for = set(Attempt.objects.exclude(state__in=CLOSED).values_list("name", flat=True))
    assert set(machines) <= waited_for, f"I2: nobody waits for {set(machines) - waited_for}"
    assert not Job.objects.active().exists(), "I8: a job did not come to its end"
