"""Finding every process that belongs to a run, whatever became of its parents, groups and sessions."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psutil

from pipeline.providers.files import read_json
from pipeline.providers.local import supervisor
from training.contract import ENV_WORK_DIR

if TYPE_CHECKING:
    from pipeline.providers.local.run import Run


def members(run: Run) -> list[psutil.Process]:
    """The run's living processes, the supervisor among them.

    A process belongs to the run when its environment names the run's work directory (inherited by everything the
    program starts), when it is a recorded process of the run that was not replaced by another of the same id, when it
    descends from one of these, or when it shares the session of one of these that lives in the supervisor's session.
    """
    records = [read_json(run.path / name) for name in (supervisor.SUPERVISOR_FILE, supervisor.PROGRAM_FILE)]
    recorded = {int(record["pid"]) for record in records if record and supervisor.is_same_process(record)}
    session = int(records[0]["pid"]) if records[0] else 0
    everyone = [process for process in psutil.process_iter() if process.pid != os.getpid() and _lives(process)]
    found = {process.pid: process for process in everyone if process.pid in recorded or _names(process, run)}
    if session and any(_session(pid) == session for pid in found):
        found |= {process.pid: process for process in everyone if _session(process.pid) == session}
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in process.children(recursive=True) if _lives(child)}
    return list(found.values())


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False


def _names(process: psutil.Process, run: Run) -> bool:
    try:
        return process.environ().get(ENV_WORK_DIR) == str(run.work_dir)
    except (psutil.Error, OSError):
        return False  # another user's process, or dead by now


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0
