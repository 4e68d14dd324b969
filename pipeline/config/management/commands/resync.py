from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from pipeline.config.choosing import add_choice, chosen, count
from pipeline.config.command import PlainCommand
from pipeline.models import Job
from pipeline.services import observation
from pipeline.states import ACTIVE


class Command(PlainCommand):
    help = "Looks at the providers now for these jobs, due or not, and does what follows; without a choice: all active."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_choice(parser, ACTIVE, since="that nothing happened to since")

    def handle(
        self, *args: Any, jobs: list[str], status: str | None, older_than: int | None, dry_run: bool, **options: Any
    ) -> None:
        found = chosen(Job.objects.active(), jobs, status, older_than, age_field="updated_at")
        before = {job.pk: job for job in found}
        if dry_run:
            for job in before.values():
                self.stdout.write(f"{job.pk}  {job.status}  {job.provider}  {job.name}")
            self.stdout.write(f"{count(len(before))} would be looked at.")
            return
        seen = observation.resync(before)
        for job in Job.objects.filter(pk__in=before).order_by("created_at"):
            was = before[job.pk].status
            said = job.status if job.status == was else f"{job.status} (was {was})"
            if job.pk not in seen:
                said = f"{job.status}: has no machine, or somebody is looking after it this moment"
            self.stdout.write(f"{job.pk}  {said}  {job.name}")
        self.stdout.write(f"{count(len(seen))} looked at.")
