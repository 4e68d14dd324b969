"""The `local` provider: a training program as a detached process group on this machine.

Creating is serialised by one lock file, a run's directory appears complete by one rename, and its life is shown by a
lock that the kernel keeps (run.py). So a worker that dies anywhere in here leaves either nothing or a run that is
judged rightly, and no timeout is involved.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings

from pipeline.providers.base import (
    Account,
    CreateRequest,
    Machine,
    MachineRef,
    MachineState,
    NoCapacity,
    Offer,
    Refused,
    Unavailable,
)
from pipeline.providers.files import check_name, is_machine_name, read_json, write_json
from pipeline.providers.local import hardware, supervisor
from pipeline.providers.local.environment import program_environment
from pipeline.providers.local.redact import secret_hashes
from pipeline.providers.local.run import LOCK_FILE, OUTPUT_FILE, WORK_DIR, Run

PROGRAM_ARCHIVE = "training.pyz"
MUTEX_SECONDS = 10.0
KEEP_WORK_SECONDS = 7 * 24 * 3600


class LocalProvider:
    name: ClassVar[str] = "local"
    label: ClassVar[str] = "This machine"
    simulated: ClassVar[bool] = False
    runs_program: ClassVar[bool] = True
    stop_is_graceful: ClassVar[bool] = True
    has_slots: ClassVar[bool] = True
    poll_seconds: ClassVar[float] = 2.0
    provision_seconds: ClassVar[int] = 900
    contact_seconds: ClassVar[int] = 300
    needs_account: ClassVar[bool] = False
    finds_by_name: ClassVar[bool] = True
    environment_is_public: ClassVar[bool] = False

    def __init__(self, account: Account | None = None) -> None:
        """The installation's own: there is no account."""

    @property
    def create_is_idempotent(self) -> bool:
        return True

    def offers(self) -> Sequence[Offer]:
        slots = settings.STOKER_LOCAL_SLOTS
        if slots == 0:
            return []  # the operator wants no training on this machine
        machine = hardware.this_machine()
        missing = _why_no_program()
        return [
            Offer(
                provider=self.name,
                type=machine.type,
                label=machine.label,
                price_per_hour=_price(1),
                memory_gb=machine.memory_gb,
                available=0 if missing else self.free_slots(),
                max_count=hardware.units_per_slot(machine, slots),
                note=missing,
            )
        ]

    def free_slots(self) -> int:
        with _reading():
            return sum(holder is None for holder in self._slots()[: settings.STOKER_LOCAL_SLOTS])

    def create(self, request: CreateRequest) -> Machine:
        check_name(request.name)
        machine, slots_wanted = hardware.this_machine(), settings.STOKER_LOCAL_SLOTS
        if slots_wanted == 0:
            raise Refused("Training on this machine is switched off: STOKER_LOCAL_SLOTS is 0.")
        if request.gpu_type not in ("", self.name, machine.type):
            raise Refused(f"This machine offers “{machine.type}”; there is no “{request.gpu_type}” here.")
        most = hardware.units_per_slot(machine, slots_wanted)
        if not 1 <= request.gpu_count <= most:
            raise Refused(f"A run here can have up to {most} “{machine.type}”; {request.gpu_count} were asked for.")
        run = Run(_runs_dir() / request.name)
        with _reading(), _mutex():
            if _is_run(run.path):
                return self._machine(run)
            missing = _why_no_program()
            if missing:
                raise Refused(missing)
            slots = self._slots()
            slot = next((i for i in range(slots_wanted) if slots[i] is None), None)
            if slot is None:
                busy = ", ".join(holder for holder in slots if holder)
                raise NoCapacity(f"Every place on this machine is taken ({busy}). Wait until one of these has ended.")
            self._start(run, request, slot)
            return self._machine(run)

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        with _reading():
            _check_home()
            runs = [Run(_runs_dir() / ref.name) for ref in refs if is_machine_name(ref.name)]
            return {run.name: self._machine(run) for run in runs if _is_run(run.path)}

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        if not is_machine_name(ref.name):
            return
        with _reading():
            _check_home()
            run = Run(_runs_dir() / ref.name)
            if not _is_run(run.path):
                return
            state = run.judge().state
            if state is MachineState.GONE:
                return
            waited = run.seconds_since_stop_order()
            if force or state is MachineState.EXITED or waited >= settings.STOKER_LOCAL_STOP_GRACE_SECONDS:
                run.kill()
            else:
                run.ask_to_end()

    def inventory(self) -> Sequence[Machine]:
        prefix = f"stoker-{settings.STOKER_INSTALLATION}-"
        with _reading():
            _check_home()
            names = {holder for holder in self._slots() if holder and holder.startswith(prefix)}
            machines = [self._machine(Run(_runs_dir() / name)) for name in sorted(names)]
        return [machine for machine in machines if machine.state is not MachineState.GONE]

    def _slots(self) -> list[str | None]:
        """Who holds each slot. A slot is held as long as its run is not gone, so none is ever left taken by the dead.

        Slots above the current setting are listed too: their runs go on when an operator lowers it.
        """
        taken: dict[int, str] = {}
        for path in _slots_dir().glob("[0-9]*"):
            if not path.name.isdigit():
                continue
            name = (read_json(path) or {}).get("name", "")
            if is_machine_name(name):
                run = Run(_runs_dir() / name)
                if _is_run(run.path) and run.judge().state is not MachineState.GONE:
                    taken[int(path.name)] = name
        return [taken.get(i) for i in range(max([settings.STOKER_LOCAL_SLOTS, *(i + 1 for i in taken)]))]

    def _start(self, run: Run, request: CreateRequest, slot: int) -> None:
        """Raise NoCapacity or OSError when the system could not start a process."""
        _runs_dir().mkdir(mode=0o700, exist_ok=True)
        _slots_dir().mkdir(mode=0o700, exist_ok=True)
        _remove_drafts()
        _empty_old_runs()
        draft = _runs_dir() / f".new-{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        environment = program_environment(
            os.environ, request.environment, work_dir=run.work_dir, models_dir=Path(settings.STOKER_MODELS_DIR)
        )
        devices = hardware.devices(hardware.this_machine(), settings.STOKER_LOCAL_SLOTS, slot, request.gpu_count)
        if devices:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        lock = os.open(draft / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        output = os.open(draft / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (draft / WORK_DIR).mkdir(mode=0o700)
            write_json(draft / supervisor.RECORD_FILE, self._record(run, draft, request, environment))
            write_json(_slots_dir() / str(slot), {"name": run.name})
            os.rename(draft, run.path)
            self._spawn(run, environment, lock, output)
        finally:  # a draft that an error leaves is removed by the next creator
            os.close(lock)
            os.close(output)

    def _record(self, run: Run, draft: Path, request: CreateRequest, environment: Mapping[str, str]) -> dict[str, Any]:
        command = settings.STOKER_LOCAL_COMMAND
        if command is None:
            from training.bundle import build

            # A copy for each run: an upgrade of the server must not pull the archive from under a running program.
            build(draft / PROGRAM_ARCHIVE)
            command = [str(settings.STOKER_TRAINER_PYTHON), str(run.path / PROGRAM_ARCHIVE)]
        return {
            "name": run.name,
            "command": [str(part) for part in command],
            "work_dir": str(run.work_dir),
            "created_at": time.time(),
            "units": request.gpu_count,
            "boot_id": supervisor.boot_id(),
            "cap_seconds": request.max_seconds + supervisor.CAP_MARGIN_SECONDS if request.max_seconds > 0 else 0,
            "secrets": secret_hashes(environment),
        }

    def _spawn(self, run: Run, environment: Mapping[str, str], lock: int, output: int) -> None:
        """Start the supervisor in a session of its own. Secrets travel in its environment, never in a command line."""
        try:
            launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(supervisor.__file__).resolve()), str(run.path)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock,),
                start_new_session=True,
            )
        except BlockingIOError as error:  # EAGAIN: the limit of processes is reached
            shutil.rmtree(run.path, ignore_errors=True)
            raise NoCapacity(f"This machine cannot start another process now: {error}.") from error
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.wait(timeout=MUTEX_SECONDS)  # it forks the supervisor and exits, so that no zombie is left to us

    def _machine(self, run: Run) -> Machine:
        verdict, record = run.judge(), run.record()
        ended = verdict.state in (MachineState.GONE, MachineState.EXITED)
        return Machine(
            name=run.name,
            external_id=run.name,
            state=verdict.state,
            created_at=run.created_at(),
            price_per_hour=_price(int(record.get("units") or 1)),
            exit_code=verdict.exit_code,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
            output_tail=run.output_tail() if ended else "",
        )


def _price(units: int) -> Decimal:
    return Decimal(settings.STOKER_LOCAL_PRICE_PER_HOUR) * units


def _runs_dir() -> Path:
    return Path(settings.STOKER_HOME) / "runs"


def _slots_dir() -> Path:
    return Path(settings.STOKER_HOME) / "slots"


def _is_run(path: Path) -> bool:
    """An empty directory is none: a rename puts a new run in its place."""
    return path.is_dir() and any(path.iterdir())


def _empty_old_runs() -> None:
    """Delete the checkpoints of runs that ended long ago; what was worth keeping is in the store. The verdict stays."""
    for end in _runs_dir().glob(f"*/{supervisor.EXIT_FILE}"):
        if time.time() - end.stat().st_mtime > KEEP_WORK_SECONDS:
            shutil.rmtree(end.parent / WORK_DIR, ignore_errors=True)


def _check_home() -> None:
    """A home that is not there (a disk not mounted) must not look like a home without runs."""
    if not Path(settings.STOKER_HOME).is_dir():
        raise Unavailable(f"The folder {settings.STOKER_HOME} is not there, so nothing is known about its runs.")


def _why_no_program() -> str:
    """A sentence when no training program can be started here, else empty."""
    if settings.STOKER_LOCAL_COMMAND is not None:
        return ""
    python = Path(settings.STOKER_TRAINER_PYTHON)
    if os.access(python, os.X_OK):
        return ""
    return f"The trainer is not installed: there is no Python at {python}. Install it, or set STOKER_TRAINER_PYTHON."


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """The protocol knows Unavailable where the file system says OSError."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The runs on this machine cannot be read: {error}.") from error


@contextlib.contextmanager
def _mutex() -> Iterator[None]:
    """One `create` at a time, over all processes. The kernel frees the lock of a holder that dies."""
    _check_home()
    handle = os.open(Path(settings.STOKER_HOME) / "slots.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + MUTEX_SECONDS
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unavailable("Another process is starting a run and does not come to an end.") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(handle)


def _remove_drafts() -> None:
    """Half-made directories of creators that were killed. We hold the mutex, so nobody is making one now."""
    for draft in _runs_dir().glob(".new-*"):
        shutil.rmtree(draft, ignore_errors=True)
