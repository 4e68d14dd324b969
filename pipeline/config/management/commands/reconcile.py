from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from django.core.management.base import CommandParser

from pipeline.config import reconcile
from pipeline.config.command import PlainCommand


class Command(PlainCommand):
    help = "Does the background work without Celery and Redis: submits, follows, cancels and sweeps what is overdue."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="do all that is due once, and end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if once:
            if not reconcile.run_once():
                sys.exit(1)
            return
        stopping = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopping.set())
        reconcile.run(stopping)
