"""`manage.py prepare_demo`: fetch the small model and the rows that the demo trains on."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from pipeline.config import demo_assets
from pipeline.config.command import PlainCommand


class Command(PlainCommand):
    help = "Fetches the demo's small pretrained model and its function-call rows. Does nothing when they are there."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            assets = demo_assets.prepare(
                settings.STOKER_HOME, settings.STOKER_MODELS_DIR, settings.STOKER_TRAINER_PYTHON, self.stdout.write
            )
        except demo_assets.DemoAssetsError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Model: {assets.model_name} in {assets.model_folder}")
        self.stdout.write(f"Rows:  {assets.dataset}")
