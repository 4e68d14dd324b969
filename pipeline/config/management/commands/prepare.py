from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from pipeline.config.env import Refused
from pipeline.config.home import replace_text
from pipeline.config.playground_accounts import change_over


class Command(BaseCommand):
    help = "Brings the database and the static files up to date. Quick when they are."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        stamp = settings.STOKER_HOME / "static.stamp"
        if not stamp.exists() or stamp.read_text() != settings.STATIC_URL:
            call_command("collectstatic", interactive=False, verbosity=0, clear=True)
            replace_text(stamp, settings.STATIC_URL)
        try:
            change_over()
        except Refused as refused:
            raise CommandError(str(refused)) from None
        if not get_user_model().objects.exists():
            self.stdout.write("Nobody can sign in yet. Make yourself a user in another terminal: make user NAME=ada")
