from __future__ import annotations

import signal
import time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from pipeline.config import demo_assets
from pipeline.config.command import PlainCommand
from pipeline.config.env import Refused
from pipeline.config.foreground import show, stopped_in_the_end
from pipeline.config.supervisor import Stack


class Command(PlainCommand):
    help = "Runs the whole product until Ctrl-C: database, broker, web, worker and beat."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        stack = Stack(settings.STOKER_HOME, port=settings.PORT, host=settings.HOST, tell=show)
        began = time.monotonic()
        try:
            with stopped_in_the_end(stack):
                stack.start()
                stack.wait_ready()
                seconds = time.monotonic() - began
                show("setup", f"Ready after {seconds:.1f} s: {settings.STOKER_PUBLIC_URL} (Ctrl-C stops everything)")
                if settings.STOKER_PLAYGROUND:
                    self.open_playground(stack)
                try:
                    while True:
                        signal.pause()
                finally:
                    show("setup", "Stopping. Trainings on this machine go on, and report when Stoker is back.")
        except Refused as refused:
            raise CommandError(str(refused)) from None
        except KeyboardInterrupt:
            show("setup", "Stopped.")

    def open_playground(self, stack: Stack) -> None:
        show("setup", stack.manage("open_playground").strip())
        try:
            assets = demo_assets.prepare(
                settings.STOKER_HOME,
                settings.STOKER_MODELS_DIR,
                settings.STOKER_TRAINER_PYTHON,
                lambda line: show("setup", line),
            )
        except demo_assets.DemoAssetsError as problem:
            show("setup", f"{problem} Without it, bring a model and a dataset of your own.")
        else:
            show("setup", f"To train: the model {assets.model_name}, and as a dataset {assets.dataset}")
