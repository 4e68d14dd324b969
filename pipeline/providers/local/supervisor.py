"""Watches one training program and writes down how it ended. A script: `python -I -S supervisor.py RUN_DIR`.

It outlives whoever started it: it forks and opens a session of its own, so a signal to the worker's process group does
not reach it. Its environment, its open log and its open lock file are handed on to the program. As long as the
supervisor or the program lives, the lock is held; the kernel drops it when both are dead, however they died.

Standard library only, and imports are few, because a start must take milliseconds. The provider imports
`identity` and `boot_id` from here, so that both sides name a process in the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, NoReturn

UNTIL_FILE = "work/until"  # training.contract.UNTIL_FILE in the work folder: this file imports nothing of ours
RECORD_FILE = "run.json"  # written by the provider before the start: {"command": [...], "cap_seconds": int, ...}
STOP_FILE = "stop.json"  # written by the provider with the first stop order
SUPERVISOR_FILE = "supervisor.json"  # identity of this process
PROGRAM_FILE = "program.json"  # identity of the program
EXIT_FILE = "exit.json"  # the last thing written: {"exit_code", "signal", "ended_at", "note"}

NOTE_STOPPED_EARLY = "stopped_before_start"
NOTE_TIME_LIMIT = "time_limit"
NOTE_OUT_OF_MEMORY = "out_of_memory"

CAP_MARGIN_SECONDS = 300  # the program and the server both end a run at its limit; we only when neither of them could
CAP_GRACE_SECONDS = 60  # between SIGTERM and SIGKILL when the time limit has passed
SWEEP_SECONDS = 5.0  # how long to look for processes the program left behind
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_CHILD_SUBREAPER = 36


def boot_id() -> str:
    """Changes when the machine is restarted. Empty where the system does not tell."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    return ""


def start_mark(pid: int) -> str:
    """When the process started, in the system's own words; a reused pid has another mark. Empty when it is dead."""
    if os.path.exists("/proc/self/stat"):
        stat = _stat(pid)
        return stat[19] if stat and stat[0] not in "ZX" else ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
        words = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False).stdout.split()
        return " ".join(words[1:]) if words and not words[0].startswith("Z") else ""
    return ""


def identity(pid: int) -> dict[str, Any]:
    return {"pid": pid, "start": start_mark(pid)}


def is_same_process(known: dict[str, Any] | None) -> bool:
    """Whether the process of an identity written earlier in this boot is alive."""
    return bool(known and known.get("start") and start_mark(int(known["pid"])) == known["start"])


def main(run_dir: str) -> None:
    if os.fork():
        os._exit(0)  # whoever started us waits for this process only, and never for the run
    os.setsid()
    os.umask(0o077)
    os.chdir(run_dir)
    # It ends when the program has ended, and not before. Blocked and not ignored: a SIGTERM that meets the forked child
    # before it has become the program must wait there, and not be lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)
    _write(SUPERVISOR_FILE, identity(os.getpid()))
    _adopt_orphans()
    with open(RECORD_FILE, encoding="utf-8") as file:
        record = json.load(file)
    if os.path.exists(STOP_FILE):
        _write(EXIT_FILE, {"exit_code": None, "signal": None, "ended_at": time.time(), "note": NOTE_STOPPED_EARLY})
        return
    kills_before = _memory_kills()
    program = os.fork()
    if program == 0:
        _become(record)
    with contextlib.suppress(OSError):  # the child does it too: whoever comes first
        os.setpgid(program, program)
    _write(PROGRAM_FILE, identity(program))
    cap = _Cap(program, int(record.get("cap_seconds") or 0))
    _, status = os.waitpid(program, 0)
    signal.alarm(0)
    _end_leftovers(program)
    code = os.waitstatus_to_exitcode(status)
    note = NOTE_TIME_LIMIT if cap.reached else ""
    if code == -signal.SIGKILL and not os.path.exists(STOP_FILE) and _memory_kills() > kills_before:
        note = NOTE_OUT_OF_MEMORY
    end = {"exit_code": code if code >= 0 else 128 - code, "signal": -code if code < 0 else None}
    _write_for_sure(EXIT_FILE, {**end, "ended_at": time.time(), "note": note})


def _become(record: dict[str, Any]) -> NoReturn:
    """Turn the forked child into the program, in a process group of its own."""
    command = record["command"]
    try:
        os.setpgid(0, 0)
        for number in (*_ENDINGS, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")  # when memory runs out, the training must die and not the server's database
        with contextlib.suppress(OSError):
            os.nice(5)  # pages stay quick while a CPU trains
        os.chdir(record["work_dir"])
        os.execvp(command[0], command)  # noqa: S606 - a list of words from our own record, and no shell
    except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
        os.write(2, f"The training program could not be started ({command[0]}): {error}\n".encode())
    os._exit(127)


class _Cap:
    """The last barrier against a run without end: acts only when neither program nor server kept the time limit."""

    def __init__(self, program: int, seconds: int) -> None:
        self.program = program
        self.reached = False
        if seconds > 0:
            signal.signal(signal.SIGALRM, self._act)
            signal.alarm(min(seconds, 2**31 - 1))

    def _act(self, *_: object) -> None:
        more = 0 if self.reached else _until() + CAP_MARGIN_SECONDS - int(time.time())
        if more > 0:
            signal.alarm(min(more, 2**31 - 1))
            return
        with contextlib.suppress(ProcessLookupError):
            if self.reached:
                os.killpg(self.program, signal.SIGKILL)
            else:
                os.kill(self.program, signal.SIGTERM)
        self.reached = True
        signal.alarm(CAP_GRACE_SECONDS)


def _until() -> int:
    """Until when the program may run, by its own note of a limit that was raised meanwhile; 0 without one."""
    with contextlib.suppress(OSError, ValueError), open(UNTIL_FILE, encoding="ascii") as file:
        return int(file.read(20))
    return 0


def _adopt_orphans() -> None:
    """Ask Linux to give us the program's orphans, even those in a session of their own, so that none can hide."""
    if sys.platform == "linux":
        with contextlib.suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_leftovers(program: int) -> None:
    """Kill what the program left behind: when the exit code is written, nothing of the run is alive."""
    with contextlib.suppress(OSError):
        os.killpg(program, signal.SIGKILL)
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        leftovers = _leftovers()
        if not leftovers:
            return
        for pid in leftovers:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _leftovers() -> list[int]:
    """Living processes of our session, and our children in any session. Linux only; elsewhere the group must do."""
    own = os.getpid()
    found = []
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != own:
                stat = _stat(int(entry))
                if stat and stat[0] not in "ZX" and str(own) in (stat[1], stat[3]):
                    found.append(int(entry))
    return found


def _stat(pid: int) -> list[str] | None:
    """/proc/<pid>/stat after the command name: state, ppid, pgrp, session, ... with the start time at index 19."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except OSError:
        return None


def _memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since boot; 0 where it does not tell."""
    with contextlib.suppress(OSError, ValueError), open("/proc/vmstat", encoding="ascii") as file:
        for line in file:
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _write(name: str, document: dict[str, Any]) -> None:
    with open(f".{name}.draft", "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(f".{name}.draft", name)


def _write_for_sure(name: str, document: dict[str, Any]) -> None:
    """A full disk often has room again when the dead program's files are gone; without the file the code is lost."""
    for _ in range(30):
        try:
            return _write(name, document)
        except OSError as error:
            os.write(2, f"The exit code could not be written: {error}\n".encode())
            time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
