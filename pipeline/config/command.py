"""What our own management commands have in common."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, SystemCheckError


class PlainCommand(BaseCommand):
    """A command that refuses with its sentence alone, where Django would put the exception's name in front of it."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            # Called by a program, or asked for the traceback, or a report of several lines: as Django does it.
            if (
                not getattr(self, "_called_from_command_line", False)
                or options["traceback"]
                or isinstance(error, SystemCheckError)
            ):
                raise
            self.stderr.write(str(error))
            sys.exit(error.returncode)
