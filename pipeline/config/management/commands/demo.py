from __future__ import annotations

import json
import signal
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from pipeline.config import demo, demo_assets
from pipeline.config.command import PlainCommand
from pipeline.config.env import Refused
from pipeline.config.foreground import stopped_in_the_end
from pipeline.config.supervisor import Stack
from pipeline.models import Job
from pipeline.states import JobStatus


class Command(PlainCommand):
    help = "Fine-tunes a small real model on this machine, shows it live, and serves the pages until Ctrl-C."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--exit",
            action="store_true",
            help="end when the job has ended; the last line is a JSON object, the exit code 0 only when it completed",
        )

    def handle(self, *args: Any, exit: bool, **options: Any) -> None:  # noqa: A002 - the option's name
        stack = Stack(settings.STOKER_HOME, port=settings.PORT, host=settings.HOST)
        job: Job | None = None
        result: dict[str, Any] = {}
        try:
            assets = demo_assets.prepare(
                settings.STOKER_HOME, settings.STOKER_MODELS_DIR, settings.STOKER_TRAINER_PYTHON, self.say
            )
            self.say("Starting the database, the broker, web, worker and beat ...")
            with stopped_in_the_end(stack):
                stack.start()
                stack.wait_ready()
                job, link = demo.begin(assets)
                self.say("")
                self.say(f"Watch it live:  {link}")
                self.say(f"(signs you in once; after that: {settings.STOKER_PUBLIC_URL}{demo.page(job)})")
                self.say("")
                try:
                    demo.follow(job, self.say)
                except KeyboardInterrupt:
                    demo.cancel(job, self.say)
                    raise
                finally:
                    result = demo.summary(job)
                demo.tell(job, result, self.say)
                if not exit:
                    self.say("")
                    self.say("The pages stay open until you press Ctrl-C.")
                    while True:
                        signal.pause()
        except (Refused, demo.DemoFailed, demo_assets.DemoAssetsError) as problem:
            raise CommandError(str(problem)) from None
        except KeyboardInterrupt:
            self.say("Stopped.")
        if exit:
            self.say(json.dumps(result or {"status": "not_started"}))
            sys.exit(0 if job is not None and job.status == JobStatus.COMPLETED else 1)

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
