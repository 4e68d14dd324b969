from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError, CommandParser

from pipeline import costs
from pipeline.config.command import PlainCommand
from pipeline.config.progress import with_bar
from pipeline.models import Job


class Command(PlainCommand):
    help = "Sets the cost of jobs to the sum of their metered records, and says where it was another."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--job", type=UUID, help="only this one")
        parser.add_argument("--dry-run", action="store_true", help="only say what is different")

    def handle(self, *args: Any, job: UUID | None, dry_run: bool, **options: Any) -> None:
        if job is not None and not Job.objects.filter(pk=job).exists():
            raise CommandError(f"There is no job {job}.")
        found = 0
        for one in with_bar(list(costs.differences(job)), "jobs"):
            # Looked at again under the job's lock: what was metered meanwhile is no difference.
            mended = one if dry_run else costs.rebuild(one.job_id)
            if mended is not None:
                found += 1
                final = "" if mended.final is None else f", final ${mended.final}"
                self.stdout.write(
                    f"{mended.job_id} {mended.name}: says ${mended.said}{final}; its records say ${mended.recorded}."
                )
        jobs, were = ("1 job", "was") if found == 1 else (f"{found} jobs", "were")
        self.stdout.write(f"{jobs} differed." if dry_run else f"{jobs} {were} set to the sum of the records.")
