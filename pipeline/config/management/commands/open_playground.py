from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from pipeline.config.command import PlainCommand
from pipeline.config.playground import FLAG, KEY
from pipeline.config.playground_accounts import open_for_everybody


class Command(PlainCommand):
    help = "Saves the playground's keys for everybody who has none. Done by `make run` and at each sign-in by itself."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.STOKER_PLAYGROUND:
            raise CommandError(f"This is no playground. Start one with: {FLAG}=1 make run")
        open_for_everybody()
        self.stdout.write(f"RunPod and the cluster are imitated here. The key {KEY} opens an account at both.")
