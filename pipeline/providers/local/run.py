"""One run's directory, and what its files and its lock say about it.

    runs/<name>/              mode 0700, appears complete by one rename
        alive.lock            locked as long as the creator, the supervisor or the program lives
        run.json              what was started, when, in which boot
        supervisor.json, program.json, exit.json   see supervisor.py
        stop.json, asked.json, killed.json         orders to stop, each written once
        output.log            everything the program printed
        work/                 the program's own directory

The lock is the proof of life: the kernel keeps it over `kill -9` of any one of them, drops it with the last, and it
cannot be confused by a reused process id.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from pipeline.providers.base import MachineState
from pipeline.providers.files import create_json, read_json
from pipeline.providers.local import supervisor
from pipeline.providers.local.processes import members
from pipeline.providers.local.redact import redact
from training.contract import ExitCode, FailureReason, Outcome

LOCK_FILE = "alive.lock"
OUTPUT_FILE = "output.log"
WORK_DIR = "work"
ASKED_FILE = "asked.json"
KILLED_FILE = "killed.json"

TAIL_BYTES = 64 * 1024
TAIL_LINES = 30
UNWATCHED = " Its supervisor is dead, so its exit code will not be known."
LEFTOVERS = "The program has ended, but processes it started are still alive."
RECORDING_SECONDS = 8.0  # how long a supervisor may take to clean up and write the exit code after a kill


@dataclass(frozen=True)
class Verdict:
    state: MachineState
    detail: str
    exit_code: int | None = None
    outcome: Outcome | None = None
    reason: str = ""


@dataclass(frozen=True)
class Run:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def work_dir(self) -> Path:
        return self.path / WORK_DIR

    def record(self) -> dict[str, Any]:
        return read_json(self.path / supervisor.RECORD_FILE) or {}

    def created_at(self) -> datetime | None:
        created = self.record().get("created_at")
        return datetime.fromtimestamp(created, UTC) if isinstance(created, int | float) else None

    def judge(self) -> Verdict:
        """What the evidence says now. Reads only; GONE is final."""
        ended = self._ended()
        if ended:
            return ended
        if self._lock_is_held():
            return self._alive()
        # Whoever could have written an exit code is dead by now, so this second look is the last one needed.
        return self._ended() or self._died_unrecorded()

    def _ended(self) -> Verdict | None:
        end = read_json(self.path / supervisor.EXIT_FILE)
        if end is None:
            return None
        code, number, note = end.get("exit_code"), end.get("signal"), end.get("note")
        at = datetime.fromtimestamp(end.get("ended_at") or 0, UTC).strftime("%H:%M:%S UTC")
        if note == supervisor.NOTE_STOPPED_EARLY:
            return Verdict(MachineState.GONE, "The run was stopped before its program was started.")
        if note == supervisor.NOTE_OUT_OF_MEMORY:
            detail = f"The system ran out of memory and killed the program at {at}."
            return Verdict(MachineState.GONE, detail, code, Outcome.FAILED, FailureReason.OUT_OF_MEMORY)
        if number:
            detail = f"The program was ended by signal {number} ({_signal_name(number)}) at {at}."
        else:
            meaning = next((f" ({item.name.lower()})" for item in ExitCode if item == code), "")
            detail = f"The program ended with exit code {code}{meaning} at {at}."
        if note == supervisor.NOTE_TIME_LIMIT:
            detail += " Its time limit had passed."
        return Verdict(MachineState.GONE, detail, code)

    def _alive(self) -> Verdict:
        """The lock is held: by the creator, the supervisor, the program, or something the program started."""
        program = read_json(self.path / supervisor.PROGRAM_FILE)
        watcher = read_json(self.path / supervisor.SUPERVISOR_FILE)
        watched = supervisor.is_same_process(watcher)
        if program is None and (watched or watcher is None):
            return Verdict(MachineState.STARTING, "The program is being started.")
        if program is None or supervisor.is_same_process(program):
            pid = f" (process {program['pid']})" if program else ""
            return Verdict(MachineState.RUNNING, f"The program runs{pid}." + ("" if watched else UNWATCHED))
        if watched:
            return Verdict(MachineState.RUNNING, "The program has ended; its exit code is being written down.")
        return Verdict(MachineState.EXITED, LEFTOVERS)

    def _died_unrecorded(self) -> Verdict:
        booted_in = self.record().get("boot_id")
        if booted_in and booted_in != supervisor.boot_id():
            return Verdict(MachineState.GONE, "The machine was restarted while the program ran.")
        if supervisor.is_same_process(read_json(self.path / supervisor.PROGRAM_FILE)):
            return Verdict(MachineState.RUNNING, "The program runs." + UNWATCHED)
        if members(self):
            return Verdict(MachineState.EXITED, LEFTOVERS)
        if not (self.path / supervisor.SUPERVISOR_FILE).exists():
            return Verdict(MachineState.GONE, "The program was never started: whoever created the run died before.")
        return Verdict(
            MachineState.GONE,
            "The program and its supervisor are dead and left no exit code: both were killed from outside.",
        )

    def _lock_is_held(self) -> bool:
        """A shared lock is tried, so that lookers never mistake each other for life."""
        try:
            handle = os.open(self.path / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def seconds_since_stop_order(self) -> float:
        """Write the stop order down unless it is; the supervisor starts no program once it stands there."""
        return self._seconds_since(supervisor.STOP_FILE)

    def ask_to_end(self) -> None:
        """Send SIGTERM once: a second one would tell the program not to wait for its checkpoint."""
        program = read_json(self.path / supervisor.PROGRAM_FILE)
        if program and supervisor.is_same_process(program) and create_json(self.path / ASKED_FILE, {}):
            with contextlib.suppress(ProcessLookupError):
                os.kill(program["pid"], signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything that belongs to the run; the supervisor last, and only when it does not end by itself."""
        killing_for = self._seconds_since(KILLED_FILE)
        watcher = read_json(self.path / supervisor.SUPERVISOR_FILE) or {}
        for _ in range(3):  # again, for what was forked meanwhile
            found = members(self)
            victims = [process for process in found if process.pid != watcher.get("pid")]
            for process in victims or (found if killing_for > RECORDING_SECONDS else []):
                try:
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
                except psutil.AccessDenied as error:
                    raise PermissionError(f"process {process.pid} of {self.name} belongs to another user") from error
            if not victims:
                return
            psutil.wait_procs(victims, timeout=0.1)

    def _seconds_since(self, order: str) -> float:
        """Since the first call with this order. The clock is the system's monotonic one: nothing outlives a boot."""
        path = self.path / order
        create_json(path, {"monotonic": time.monotonic()})
        return max(0.0, time.monotonic() - float((read_json(path) or {}).get("monotonic", 0.0)))

    def output_tail(self) -> str:
        try:
            with open(self.path / OUTPUT_FILE, "rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        # A progress bar rewrites its line with carriage returns: only its last state is of use.
        lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
        return redact("\n".join(lines[-TAIL_LINES - 1 :]).strip("\n"), self.record().get("secrets") or [])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
