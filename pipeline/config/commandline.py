"""What `manage.py` does around a command: sentences for refused settings, and the embedded database for as long."""

from __future__ import annotations

import os
import sys

from pipeline.config.env import Refused

# Commands that need no database, or look after it themselves.
WITHOUT_DATABASE = {
    "check",
    "collectstatic",
    "demo",
    "diffsettings",
    "findstatic",
    "help",
    "spectacular",
    "stack",
    "version",
}
# Commands that may run longer than a request is allowed to.
UNHURRIED = {"dbshell", "migrate", "prune_metrics", "rebuild_costs", "reprocess_jobs"}


def run(arguments: list[str]) -> int:
    """Run a command line and return the exit code: 2 with a sentence when a setting or the database is unusable."""
    command = next((word for word in arguments[1:] if not word.startswith("-")), "help")
    if command in UNHURRIED:
        os.environ.setdefault("STOKER_STATEMENT_SECONDS", "0")
    try:
        from pipeline.config import settings

        if settings.STOKER_EMBEDDED_DATABASE and command not in WITHOUT_DATABASE and "--help" not in arguments:
            from pipeline.config.embedded import Postgres

            Postgres(settings.STOKER_HOME / "postgres").attach()
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2

    from django.core.management import execute_from_command_line

    execute_from_command_line(arguments)
    return 0
