"""What the tailer asks the database in one round: for all jobs, pages and people at once, whatever their number.

Plain functions on plain data, called outside the event loop.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError, connection
from django.db.models import Q
from django.utils import timezone

from pipeline.live import sessions, topics
from pipeline.live.frames import Frame, Window, job_frames
from pipeline.live.state import job_state, jobs_with_attempt
from pipeline.models import Job
from pipeline.states import ACTIVE

logger = logging.getLogger(__name__)

MAX_WINDOWS = 200  # frames made in one round
NEWLY_MADE = timedelta(seconds=60)
MAX_LISTED = 200  # jobs in one frame of a job list

Version = tuple[int, datetime]  # event_seq and updated_at: together they tell whether a job is as it was


@dataclass(slots=True)
class Known:
    """What this process has seen of a job, and from where its sockets read on."""

    seq: int
    updated_at: datetime | None  # None: make a frame whether or not anything changed
    afters: Collection[int] = ()  # of all sockets; each gets a frame when the job has changed
    behind: Collection[int] = ()  # of sockets that have not got all of what is known already


@dataclass(slots=True)
class Follow:
    """Somebody's wish to follow a job, not yet granted."""

    user: AbstractBaseUser
    job_id: UUID
    after: int


@dataclass(slots=True)
class Plan:
    follows: list[Follow] = field(default_factory=list)
    jobs: dict[UUID, Known] = field(default_factory=dict)
    # The job lists of these users, with the versions their pages have; None: everything current is to be sent.
    lists: dict[int, dict[UUID, Version] | None] = field(default_factory=dict)
    hinted: set[UUID] = field(default_factory=set)  # jobs that may be news for a list
    whole_lists: bool = True  # look at all current jobs of the users, not only at the hinted ones
    topics: dict[str, set[int]] = field(default_factory=dict)
    # Sessions to be checked again, with the jobs their sockets follow.
    sessions: dict[str, set[UUID]] = field(default_factory=dict)


@dataclass(slots=True)
class ListNews:
    text: str | None  # the frame; None when nothing changed
    versions: dict[UUID, Version]


@dataclass(slots=True)
class Outcome:
    granted: set[tuple[int, UUID]] = field(default_factory=set)  # user and job
    only_asked: set[Window] = field(default_factory=set)  # wanted by new followers, no news to anybody else
    gone: set[UUID] = field(default_factory=set)
    postponed: set[UUID] = field(default_factory=set)  # jobs with news for which this round had no room
    frames: dict[Window, tuple[Frame, str]] = field(default_factory=dict)
    lists: dict[int, ListNews] = field(default_factory=dict)
    topics: dict[tuple[str, int], str] = field(default_factory=dict)
    # The user a session stands for now (None: no longer valid), and which of the jobs they may still see.
    sessions: dict[str, tuple[int, set[UUID]] | None] = field(default_factory=dict)


def read(plan: Plan) -> Outcome:
    outcome = Outcome()
    for key, job_ids in plan.sessions.items():
        user = sessions.identify(key)
        outcome.sessions[key] = (user.pk, _visible(user, job_ids)) if user else None
    windows = outcome.only_asked = _granted_windows(plan, outcome)
    if plan.jobs:
        changed = _changed_windows(plan, outcome)
        outcome.only_asked = windows - changed
        changed -= windows
        # Those nearest to the end first: what is new now matters more than the history of one that comes back.
        in_turn = sorted(changed, key=lambda window: plan.jobs[window[0]].seq - window[1])
        room = max(MAX_WINDOWS - len(windows), 1)
        windows |= set(in_turn[:room])
        outcome.postponed = {job_id for job_id, _ in in_turn[room:]}
    if windows:
        for window, frame in job_frames(windows).items():
            outcome.frames[window] = (frame, frame.encode().decode())
    if plan.lists:
        outcome.lists = _read_lists(plan)
    for name, user_ids in plan.topics.items():
        try:
            bodies = topics.snapshot(name, user_ids)
        except DatabaseError:
            raise
        except Exception:  # another app's mistake may not stop the job pages
            logger.exception("The snapshot of the topic %r failed.", name)
            continue
        for user_id, body in bodies.items():
            outcome.topics[name, user_id] = encode({"t": name} | body)
    return outcome


def encode(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


def _visible(user: AbstractBaseUser, job_ids: Collection[UUID]) -> set[UUID]:
    """Of these jobs, the ones `user` may see. The API asks the same queryset."""
    if not job_ids:
        return set()
    return set(Job.objects.for_user(user).filter(pk__in=job_ids).values_list("pk", flat=True))


def _granted_windows(plan: Plan, outcome: Outcome) -> set[Window]:
    by_user: dict[int, list[Follow]] = defaultdict(list)
    for follow in plan.follows:
        by_user[follow.user.pk].append(follow)
    windows = set()
    for user_id, follows in by_user.items():
        visible = _visible(follows[0].user, {follow.job_id for follow in follows})
        outcome.granted |= {(user_id, job_id) for job_id in visible}
        windows |= {(follow.job_id, follow.after) for follow in follows if follow.job_id in visible}
    return windows


def _changed_windows(plan: Plan, outcome: Outcome) -> set[Window]:
    windows = {(job_id, after) for job_id, known in plan.jobs.items() for after in known.behind}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT known.id, job.id IS NULL
            FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) AS known (id, seq, updated_at)
            LEFT JOIN pipeline_job AS job ON job.id = known.id
            WHERE job.event_seq IS DISTINCT FROM known.seq OR job.updated_at IS DISTINCT FROM known.updated_at
            """,
            [list(plan.jobs), [k.seq for k in plan.jobs.values()], [k.updated_at for k in plan.jobs.values()]],
        )
        for job_id, gone in cursor.fetchall():
            if gone:
                outcome.gone.add(job_id)
            else:
                windows |= {(job_id, after) for after in plan.jobs[job_id].afters}
    return {window for window in windows if window[0] not in outcome.gone}


def _read_lists(plan: Plan) -> dict[int, ListNews]:
    """News for the pages that show a list of jobs: each user's own active and new jobs, and the ends of those shown."""
    found = _list_versions(plan)
    changed = {
        job_id
        for user_id, versions in found.items()
        for job_id, (version, _) in versions.items()
        if (plan.lists[user_id] or {}).get(job_id) != version
    }
    now = timezone.now()
    states = {job.pk: job_state(job, now) for job in jobs_with_attempt(changed)} if changed else {}
    news = {}
    for user_id, known in plan.lists.items():
        versions = found.get(user_id, {})
        told = [job_id for job_id in versions if job_id in states][:MAX_LISTED]
        gone = [str(job_id) for job_id in known or () if job_id not in versions and plan.whole_lists]
        # What had no room in this frame is not noted, so the next one has it.
        untold = states.keys() - set(told)
        kept = {job_id: version for job_id, (version, current) in versions.items() if current and job_id not in untold}
        if not plan.whole_lists and known:
            kept = {job_id: version for job_id, version in known.items() if job_id not in versions} | kept
        body = {"t": "jobs", "jobs": [states[job_id] for job_id in told], "gone": gone}
        news[user_id] = ListNews(encode(body) if told or gone or known is None else None, kept)
    return news


def _list_versions(plan: Plan) -> dict[int, dict[UUID, tuple[Version, bool]]]:
    """User -> job -> its version, and whether the job is current: whether it may change again."""
    jobs = Job.objects.filter(owner__in=plan.lists).order_by("-created_at")
    newly_made = timezone.now() - NEWLY_MADE
    if plan.whole_lists:
        ids = plan.hinted.union(*(known or () for known in plan.lists.values()))
        jobs = jobs.filter(Q(status__in=ACTIVE) | Q(created_at__gt=newly_made) | Q(pk__in=ids))
    else:
        jobs = jobs.filter(pk__in=plan.hinted)
    found: dict[int, dict[UUID, tuple[Version, bool]]] = defaultdict(dict)
    rows = jobs.values_list("owner_id", "pk", "event_seq", "updated_at", "status", "created_at")
    for owner_id, job_id, seq, updated_at, status, created_at in rows:
        found[owner_id][job_id] = ((seq, updated_at), status in ACTIVE or created_at > newly_made)
    return found
