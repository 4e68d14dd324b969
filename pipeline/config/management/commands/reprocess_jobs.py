from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandParser

from pipeline.config.choosing import add_choice, chosen, count
from pipeline.config.command import PlainCommand
from pipeline.config.progress import with_bar
from pipeline.models import Job
from pipeline.services import reprocessing
from pipeline.services.errors import Conflict
from pipeline.states import TERMINAL

WHO = "manage.py reprocess_jobs"


class Command(PlainCommand):
    help = (
        "Works out anew what follows from the rows of ended jobs (cost, last numbers, adapter), and checks that their "
        "files are there; without a choice: all that have ended."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_choice(parser, TERMINAL, since="that ended longer ago")
        parser.add_argument("--checksums", action="store_true", help="also read every file and compare its SHA-256")

    def handle(
        self, *args: Any, jobs: list[str], status: str | None, older_than: int | None, dry_run: bool, checksums: bool,
        **options: Any,
    ) -> None:  # fmt: skip
        ended = Job.objects.filter(status__in=[one.value for one in TERMINAL])
        found = chosen(ended, jobs, status, older_than, age_field="completed_at")
        rows = list(found.values_list("pk", "name"))
        mended = broken = 0
        for job_id, name in with_bar(rows, "jobs"):
            try:
                one = reprocessing.reprocess(job_id, actor=WHO, dry_run=dry_run, checksums=checksums)
            except (Conflict, Job.DoesNotExist) as refusal:
                self.stderr.write(f"{job_id}  {name}: {refusal}")
                continue
            mended, broken = mended + bool(one.mended), broken + bool(one.problems)
            for sentence in one.mended:
                self.stdout.write(f"{job_id}  {name}: {sentence}")
            for sentence in one.problems:
                self.stderr.write(f"{job_id}  {name}: {sentence}")
        left = len(jobs) - len(rows) if jobs else 0
        if left > 0:
            self.stderr.write(f"{count(left)} left out: not ended, or not as chosen.")
        done = "would be mended" if dry_run else "mended"
        self.stdout.write(f"{count(len(rows))} looked at, {mended} {done}, {broken} with files that are not right.")
        if broken:
            sys.exit(1)
