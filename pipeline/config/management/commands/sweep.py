from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q

from pipeline.config.command import PlainCommand
from pipeline.models import AccountLook
from pipeline.services import orders, sweeping

WHO = "manage.py sweep"


class Command(PlainCommand):
    help = "Looks at what runs at each account now and ends what belongs to nobody."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", metavar="ID", help="only this one: a number from the list, or a provider")
        parser.add_argument("--dry-run", action="store_true", help="only list; nothing is written and nothing is ended")
        parser.add_argument("--confirm", action="store_true", help="also end what was held back for a person to check")

    def handle(self, *args: Any, account: str | None, dry_run: bool, confirm: bool, **options: Any) -> None:
        if dry_run and confirm:
            raise CommandError("Either --dry-run or --confirm: one ends nothing, the other does.")
        looks = sweeping.known_looks().order_by("pk")
        if account:
            looks = looks.filter(Q(pk=int(account)) if account.isdecimal() else Q(provider=account))
        accounts = list(looks)
        if not accounts:
            raise CommandError(
                f"There is no account {account}. Leave --account out to see all." if account
                else "No provider whose machines can be listed has an account."
            )  # fmt: skip
        worked = [self._sweep(look, dry_run, confirm) for look in accounts]
        if not all(worked):
            sys.exit(1)

    def _sweep(self, look: AccountLook, dry_run: bool, confirm: bool) -> bool:
        owner = f", of {look.credential.owner.get_username()}" if look.credential else ""
        self.stdout.write(f"Account {look.pk}: {look}{owner}")
        outcome = sweeping.sweep(look, dry_run=dry_run)
        if outcome is None:
            self.stdout.write("  Somebody is looking at it this moment; try again in a minute.")
            return False
        if outcome.problem:
            self.stderr.write(f"  {outcome.problem} Nothing is concluded from that.")
            return False
        for one in outcome.findings:
            held = " HELD BACK." if one.held_back else ""
            self.stdout.write(f"  {one.external_id}  {one.machine.name}  {one.machine.state}  {one.whose.value}{held}")
        if not outcome.findings:
            self.stdout.write("  Nothing of ours runs here.")
        for sighting in outcome.ordered:
            self.stdout.write(f"  {sighting.external_id} was told to end.")
        if outcome.held_back:
            self.stdout.write(f"  {outcome.held_back}")
        if confirm:
            for sentence in orders.confirm(look, actor=WHO):
                self.stdout.write(f"  {sentence}")
        elif outcome.held_back:
            self.stdout.write(f"  To end them all: manage.py sweep --confirm --account {look.pk}")
        return True
