from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError, CommandParser

from pipeline.config import second_factor
from pipeline.config.command import PlainCommand


class Command(PlainCommand):
    help = (
        "Sets up the app that makes an operator's codes for the admin (STOKER_ADMIN_TOTP=1): prints the address that "
        "the app reads. It holds the secret: show it to its owner alone."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="user name of the operator")
        parser.add_argument("--replace", action="store_true", help="also when they have an app: it stops working")
        parser.add_argument("--remove", action="store_true", help="take it away, and give none")

    def handle(self, *args: Any, name: str, replace: bool, remove: bool, **options: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is nobody called {name}.")
        if remove:
            removed = second_factor.remove(user)
            self.stdout.write(f"{name} has no app any more." if removed else f"{name} had none.")
            return
        if second_factor.is_enrolled(user) and not replace:
            raise CommandError(f"{name} has an app already. With --replace the old one stops working.")
        if not user.is_staff:
            self.stderr.write(f"{name} is no operator yet, so there is nothing to use it for.")
        self.stdout.write(second_factor.enrol(user))
