from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import CommandError, CommandParser

from frontend.signin import make_link
from pipeline.config.command import PlainCommand
from pipeline.config.home import running_at


class Command(PlainCommand):
    help = "Prints an address that signs a user in once, within 30 minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--create", action="store_true", help="make the user when there is none of that name")
        parser.add_argument("--operator", action="store_true", help="let the user into the admin, with all rights")
        parser.add_argument("--next", default="/jobs/", help="the page to open after signing in")

    def handle(self, *args: Any, username: str, create: bool, operator: bool, next: str, **options: Any) -> None:  # noqa: A002
        users = get_user_model()
        user = users.objects.filter(username=username).first()
        if user is None:
            if not create:
                raise CommandError(f"There is no user named {username!r}. Add --create to make one.")
            user = users.objects.create_user(username, password=None)
        if operator and not (user.is_staff and user.is_superuser):
            user.is_staff = user.is_superuser = True
            user.save(update_fields=["is_staff", "is_superuser"])
        if not user.is_active:
            raise CommandError(f"The user {username!r} is not active.")
        running = running_at(settings.STOKER_HOME)
        if running is None:
            self.stderr.write("Stoker does not run now. Start it with `make run`, then open this within 30 minutes:")
        address = settings.STOKER_PUBLIC_URL if "STOKER_PUBLIC_URL" in os.environ or running is None else running
        self.stdout.write(address + make_link(user, next))
