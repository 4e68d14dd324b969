"""How commands choose jobs: by id, by status, by age."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models.functions import Now

from pipeline.models import Job
from pipeline.querysets import JobQuerySet
from pipeline.states import JobStatus


def add_choice(parser: CommandParser, statuses: Iterable[JobStatus], *, since: str) -> None:
    """`JOB ...`, `--status`, `--older-than MINUTES` and `--dry-run`; `since` says what the age counts from."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="ids of jobs")
    parser.add_argument("--status", choices=sorted(status.value for status in statuses), help="only of this status")
    parser.add_argument("--older-than", type=int, metavar="MINUTES", help=f"only jobs {since}")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def chosen(
    among: JobQuerySet, ids: list[str], status: str | None, older_than: int | None, *, age_field: str
) -> JobQuerySet:
    """Those of `among` that were asked for, the oldest first. Raise CommandError for an id that is no job's."""
    if ids:
        try:
            wanted = {UUID(text) for text in ids}
        except ValueError:
            raise CommandError("A job's id is the last part of its page's address.") from None
        missing = wanted - set(Job.objects.filter(pk__in=wanted).values_list("pk", flat=True))
        if missing:
            raise CommandError(f"There is no such job: {', '.join(sorted(map(str, missing)))}.")
        among = among.filter(pk__in=wanted)
    if status:
        among = among.filter(status=status)
    if older_than is not None:
        among = among.filter(**{f"{age_field}__lt": Now() - timedelta(minutes=older_than)})
    return among.order_by("created_at")


def count(number: int) -> str:
    return "1 job" if number == 1 else f"{number:,} jobs"
