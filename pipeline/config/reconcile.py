"""The background work without Celery and Redis: the same functions, called by a loop that needs PostgreSQL alone.

While beat, broker and worker live, it finds next to nothing: jobs are taken only when they have waited longer than the
others leave them, and the slower work only while beat is silent. Each kind of work has a thread, so that a provider
that hangs in one does not hold up the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now

from celery_app import app
from pipeline import budgets
from pipeline.models import ProcessBeat
from pipeline.services import observation, ruling, stopping, submission, sweeping

logger = logging.getLogger(__name__)

NAME = "reconcile"  # of its sign of life
GRACE = timedelta(seconds=2)  # how long a job may be due before it is taken here
BEAT_SILENT = timedelta(seconds=40)  # two signs of life that did not come, and some
HEARTBEAT_SECONDS = 15.0
STOP_SECONDS = 5.0
SAY_AGAIN_SECONDS = 60.0
# What has steps of its own below, and what only beat itself can do.
PROMPT = frozenset(
    f"pipeline.tasks.{name}"
    for name in (
        "submit_due",
        "poll_due",
        "cancel_due",
        "sweep_due",
        "enforce_budgets_due",
        "judge_rules_due",
        "beat_tick",
    )
)


@dataclass
class Step:
    """One kind of work, done again `every` so many seconds. What goes wrong is said in the log and tried again."""

    name: str
    every: float
    work: Callable[[], object]
    _failing_since: float | None = field(default=None, init=False)
    _said_at: float = field(default=0.0, init=False)

    def run(self) -> bool:
        """Do the work once. Return whether it worked; never raises."""
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round tries again
            connection.close()
            self._say(error)
            return False
        if self._failing_since is not None:
            logger.info("%s: works again, after %.0f s.", self.name, time.monotonic() - self._failing_since)
            self._failing_since = None
        return True

    def repeat(self, stopping: threading.Event) -> None:
        try:
            while not stopping.is_set():
                self.run()
                stopping.wait(self.every)
        finally:
            connection.close()

    def _say(self, error: Exception) -> None:
        now = time.monotonic()
        if self._failing_since is None or now - self._said_at > SAY_AGAIN_SECONDS:
            self._failing_since = self._failing_since or now
            self._said_at = now
            first_line = str(error).strip().partition("\n")[0]
            logger.warning("%s: not possible now (%s: %s); trying again.", self.name, type(error).__name__, first_line)
            logger.debug("%s", self.name, exc_info=error)


def steps(grace: timedelta = GRACE, beat_silent: timedelta = BEAT_SILENT) -> list[Step]:
    app.loader.import_default_modules()  # here, because threads that import the same modules at once disturb each other
    return [
        Step("Submit queued jobs", 1.0, lambda: submission.submit_due(grace)),
        Step("Cancel jobs", 1.0, lambda: stopping.stop_due(grace)),
        # Looks come first where both are due: they see whether the machine is gone.
        Step("Follow running jobs", 1.0, lambda: observation.poll_due(grace / 2)),
        Step("Look for forgotten machines", 5.0, lambda: sweeping.sweep_due(sweeping.EVERY + 5 * grace)),
        # One query, and harmless when beat does it too: money does not wait until beat is known to be silent.
        Step("Watch budgets", 15.0, budgets.enforce_due),
        # As harmless: a rule fires once, whoever looks.
        Step("Look at rules", 15.0, ruling.judge_due),
        *(
            Step(name, float(seconds), lambda task=task: _in_place_of_beat(task, beat_silent))  # type: ignore[misc]
            for name, (task, seconds) in settings.STOKER_SCHEDULES.items()
            if task not in PROMPT
        ),
    ]


def run_once() -> bool:
    """Do everything that is due once, whoever else might. Return whether all of it worked."""
    worked = [step.run() for step in [*steps(timedelta(0), timedelta(0)), heartbeat()]]
    return all(worked)


def run(stopping: threading.Event, work: list[Step] | None = None) -> None:
    """Do everything again and again, until `stopping` is set."""
    threads = [
        threading.Thread(target=step.repeat, args=(stopping,), name=step.name, daemon=True)
        for step in (steps() if work is None else work)
    ]
    for thread in threads:
        thread.start()
    heartbeat().repeat(stopping)
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def heartbeat() -> Step:
    return Step("Show that reconcile is alive", HEARTBEAT_SECONDS, _show_life)


def _show_life() -> None:
    ProcessBeat.objects.update_or_create(name=NAME, defaults={"at": Now()})


def _in_place_of_beat(task: str, silent_for: timedelta) -> None:
    """Run a periodic task here when beat, broker and worker have shown no common sign of life for so long."""
    if silent_for and ProcessBeat.objects.filter(name="beat", at__gt=Now() - silent_for).exists():
        return
    app.tasks[task]()
