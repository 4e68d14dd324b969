from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from pipeline.config.command import PlainCommand
from pipeline.services.rotation import Tally, reseal


class Command(PlainCommand):
    help = (
        "Seals stored provider keys and addresses of destinations with the newest key of ENCRYPTION_KEY. When it ends "
        "without an error, older keys can be taken out of the setting. It may be interrupted, repeated, and run while "
        "Stoker runs."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count and open everything, and change nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        tally = Tally()
        for problem in reseal(tally, dry_run=dry_run):
            self.stderr.write(problem or f"{tally.seen} looked at ...")
        done = "would be sealed anew" if dry_run else "sealed anew"
        parts = [f"{tally.resealed} {done}", f"{tally.current} were sealed with the newest key already"]
        if tally.changed:
            parts.append(f"{tally.changed} were saved by their owners meanwhile")
        self.stdout.write(f"Stored secrets: {', '.join(parts)}.")
        if tally.failed:
            raise CommandError(
                f"{tally.failed} cannot be opened. Put the key they were sealed with back into ENCRYPTION_KEY, behind "
                "the newest, and run this again; or let their owners save them anew."
            )
