from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from pipeline.config.choosing import count
from pipeline.config.command import PlainCommand
from pipeline.config.progress import with_bar
from pipeline.services.pruning import CURVE_POINTS, Pruned, prunable, prune


class Command(PlainCommand):
    help = (
        f"Thins the curves of jobs that ended long ago to about {CURVE_POINTS} points each and removes their log "
        "lines. Everything else of them stays. It may be interrupted and repeated."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--older-than", type=int, metavar="DAYS", help="instead of STOKER_KEEP_METRICS_DAYS")
        parser.add_argument("--dry-run", action="store_true", help="only count what would go")

    def handle(self, *args: Any, older_than: int | None, dry_run: bool, **options: Any) -> None:
        days = settings.STOKER_KEEP_METRICS_DAYS if older_than is None else older_than
        if days <= 0:
            raise CommandError("Say how many days of metrics to keep, 1 or more: --older-than DAYS.")
        ids = list(prunable(timedelta(days=days)).values_list("pk", flat=True))
        total = Pruned()
        for job_id in with_bar(ids, "jobs"):
            total += prune(job_id, dry_run=dry_run)
        done = "would be removed" if dry_run else "removed"
        self.stdout.write(f"{count(len(ids))}: {total.points:,} steps and {total.lines:,} log lines {done}.")
