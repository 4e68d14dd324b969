from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser
from django.db.models.functions import Now

from pipeline.config.command import PlainCommand
from pipeline.models import Job
from pipeline.querysets import JobQuerySet
from pipeline.services import observation
from pipeline.states import ACTIVE


class Command(PlainCommand):
    help = "Looks at the providers now for these jobs, due or not, and does what follows; without a choice: all active."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("jobs", nargs="*", metavar="JOB", help="ids of jobs")
        parser.add_argument(
            "--status", choices=sorted(status.value for status in ACTIVE), help="only jobs of this status"
        )
        parser.add_argument(
            "--older-than", type=int, metavar="MINUTES", help="only jobs that nothing happened to since"
        )
        parser.add_argument("--dry-run", action="store_true", help="only list the jobs that would be looked at")

    def handle(
        self, *args: Any, jobs: list[str], status: str | None, older_than: int | None, dry_run: bool, **options: Any
    ) -> None:
        chosen = self._chosen(jobs, status, older_than)
        before = {job.pk: job for job in chosen}
        if dry_run:
            for job in chosen:
                self.stdout.write(f"{job.pk}  {job.status}  {job.provider}  {job.name}")
            self.stdout.write(f"{_count(len(before))} would be looked at.")
            return
        seen = observation.resync(before)
        for job in Job.objects.filter(pk__in=before).order_by("created_at"):
            was = before[job.pk].status
            said = job.status if job.status == was else f"{job.status} (was {was})"
            if job.pk not in seen:
                said = f"{job.status}: has no machine, or somebody is looking after it this moment"
            self.stdout.write(f"{job.pk}  {said}  {job.name}")
        self.stdout.write(f"{_count(len(seen))} looked at.")

    def _chosen(self, ids: list[str], status: str | None, older_than: int | None) -> JobQuerySet:
        found = Job.objects.active().order_by("created_at")
        if ids:
            try:
                wanted = {UUID(text) for text in ids}
            except ValueError:
                raise CommandError("A job's id is the last part of its page's address.") from None
            missing = wanted - set(Job.objects.filter(pk__in=wanted).values_list("pk", flat=True))
            if missing:
                raise CommandError(f"There is no such job: {', '.join(sorted(map(str, missing)))}.")
            found = found.filter(pk__in=wanted)
        if status:
            found = found.filter(status=status)
        if older_than is not None:
            found = found.filter(updated_at__lt=Now() - timedelta(minutes=older_than))
        return found


def _count(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
