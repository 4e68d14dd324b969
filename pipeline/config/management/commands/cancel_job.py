from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from pipeline.config.command import PlainCommand
from pipeline.models import Job
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel


class Command(PlainCommand):
    help = "Cancels jobs: their machines are stopped, and they count as cancelled once those are seen to be gone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", nargs="+", help="a job's id, as its page's address and the Info tab show it")

    def handle(self, *args: Any, job: list[str], **options: Any) -> None:
        refused = 0
        for given in job:
            try:
                self.stdout.write(f"{given}: {_cancel(given)}")
            except (Job.DoesNotExist, ValidationError):
                self.stderr.write(f"{given}: There is no job with this id.")
                refused += 1
            except Conflict as conflict:
                self.stderr.write(f"{given}: {conflict}")
                refused += 1
        if refused:
            raise CommandError(f"{refused} of {len(job)} not cancelled.")


def _cancel(given: str) -> str:
    ordered = request_cancel(Job.objects.only("pk").get(pk=given).pk, actor="command line")
    return "Cancelling." if ordered else "Its end was ordered before."
