"""The `simulated` provider: no machine and no process, only a small file that says when an imagined run began.

For trying the pages, for load tests and for demonstrations. Everything told about a run is computed from its file and
the clock (curve.py), so it survives restarts of the server and a thousand runs cost next to nothing.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
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
    Report,
    Unavailable,
)
from pipeline.providers.files import check_name, create_json, is_machine_name, read_json, write_json
from pipeline.providers.simulated import curve
from pipeline.providers.simulated.gpus import BY_TYPE, GPUS, SimulatedGpu
from training.contract import Stage

MAX_GPUS = 8
MAX_POINTS = 2_000  # in one report
ALL_READ = 2**62  # as `after_step`: no points are wanted
FORGET_SECONDS = 7 * 24 * 3600  # files of ended runs are deleted after this time


class SimulatedProvider:
    """A report holds the points after `after_step` and the log lines that belong to these points."""

    name: ClassVar[str] = "simulated"
    label: ClassVar[str] = "Simulated"
    simulated: ClassVar[bool] = True
    runs_program: ClassVar[bool] = False
    stop_is_graceful: ClassVar[bool] = True
    has_slots: ClassVar[bool] = False
    poll_seconds: ClassVar[float] = 2.0
    provision_seconds: ClassVar[int] = 900
    contact_seconds: ClassVar[int] = 60
    needs_account: ClassVar[bool] = False
    finds_by_name: ClassVar[bool] = True
    environment_is_public: ClassVar[bool] = False

    def __init__(self, account: Account | None = None) -> None:
        """The installation's own: there is no account."""

    @property
    def create_is_idempotent(self) -> bool:
        return True

    def offers(self) -> Sequence[Offer]:
        return [
            Offer(
                provider=self.name,
                type=gpu.type,
                label=gpu.label,
                price_per_hour=gpu.price_per_hour,
                memory_gb=gpu.memory_gb,
                available=None if gpu.in_stock else 0,
                max_count=MAX_GPUS,
                note=gpu.note,
            )
            for gpu in GPUS
        ]

    def free_slots(self) -> int | None:
        return None

    def create(self, request: CreateRequest) -> Machine:
        check_name(request.name)
        gpu = BY_TYPE.get(request.gpu_type)
        if gpu is None:
            raise Refused(f"There is no simulated GPU “{request.gpu_type}”. Choose one of: {', '.join(BY_TYPE)}.")
        if not 1 <= request.gpu_count <= MAX_GPUS:
            raise Refused(f"A simulated machine has 1 to {MAX_GPUS} GPUs; {request.gpu_count} were asked for.")
        path = _folder() / f"{request.name}.json"
        with _files():
            if not gpu.in_stock:
                raise NoCapacity(f"{gpu.label}: no machine is free, and none ever will be.")
            path.parent.mkdir(exist_ok=True)
            document = {
                "created_at": time.time(),
                "gpu_type": gpu.type,
                "gpu_count": request.gpu_count,
                "base_model": request.base_model,
                "dataset_rows": request.dataset_rows,
                "hyperparameters": dict(request.hyperparameters),
                "seed": request.seed or zlib.crc32(request.name.encode()),
            }
            create_json(path, document)
            machine = _look(MachineRef(request.name), time.time())
        if machine is None:
            raise Unavailable(f"The file of the simulated machine {request.name} disappeared while it was created.")
        return machine

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        now = time.time()
        with _files():
            found = [_look(ref, now) for ref in refs if is_machine_name(ref.name)]
        return {machine.name: machine for machine in found if machine}

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        if not is_machine_name(ref.name):
            return
        path = _folder() / f"{ref.name}.json"
        with _files():
            document = read_json(path)
            if document is None:
                return
            first = document.get("stopped_at") or time.time()
            forced = bool(force or document.get("forced"))
            if (first, forced) != (document.get("stopped_at"), bool(document.get("forced"))):
                write_json(path, document | {"stopped_at": first, "forced": forced})

    def inventory(self) -> Sequence[Machine]:
        now = time.time()
        with _files():
            paths = sorted(_folder().glob(f"stoker-{settings.STOKER_INSTALLATION}-*.json"))
            found = [_look(MachineRef(path.stem, after_step=ALL_READ), now) for path in paths]
            _forget(paths, now)
        return [machine for machine in found if machine and machine.state is not MachineState.GONE]


def _look(ref: MachineRef, now: float) -> Machine | None:
    document = read_json(_folder() / f"{ref.name}.json")
    gpu = BY_TYPE.get((document or {}).get("gpu_type", ""))
    if document is None or gpu is None:
        return None
    plan = _plan(document, gpu)
    moment = _moment(document, plan, now)
    steps = curve.logged_steps(plan, ref.after_step, moment.step, MAX_POINTS + 1)
    shown = steps[:MAX_POINTS]
    # A run that comes to its own end waits, like an upload, until its reader is at most one report behind.
    unread = len(steps) > MAX_POINTS and moment.outcome is not None and document.get("stopped_at") is None
    outcome = None if unread else moment.outcome
    state = MachineState.GONE if outcome else MachineState.RUNNING if moment.provisioned else MachineState.STARTING
    return Machine(
        name=ref.name,
        external_id=ref.name,
        state=state,
        created_at=datetime.fromtimestamp(document["created_at"], UTC),
        price_per_hour=gpu.price_per_hour * document["gpu_count"],
        outcome=outcome,
        reason=moment.reason if outcome else "",
        detail=moment.message if outcome else f"{gpu.label}: step {moment.step:,} of {plan.total_steps:,}.",
        report=Report(
            points=[curve.point(plan, step) for step in shown],
            total_steps=plan.total_steps,
            total_epochs=round(plan.total_epochs, 4),
            stage=Stage.UPLOADING if unread else moment.stage,
            logs=curve.log_lines(plan, shown),
        ),
    )


def _plan(document: Mapping[str, Any], gpu: SimulatedGpu) -> curve.Plan:
    return curve.plan(
        document.get("hyperparameters") or {},
        dataset_rows=document.get("dataset_rows") or 0,
        base_model=document.get("base_model") or "",
        gpu_count=document["gpu_count"],
        gpu_memory_gb=gpu.memory_gb,
        speed=gpu.speed,
        seed=document["seed"],
        fault=gpu.fault,
        diverges=gpu.diverges,
    )


def _moment(document: Mapping[str, Any], plan: curve.Plan, now: float) -> curve.Moment:
    created, stopped = document["created_at"], document.get("stopped_at")
    return curve.moment(
        plan,
        max(0.0, now - created) * plan.speed,
        None if stopped is None else max(0.0, stopped - created) * plan.speed,
        forced=bool(document.get("forced")),
    )


def _forget(paths: Sequence[Path], now: float) -> None:
    """Delete what ended long ago. The file's own date is the last order, or the creation: neither is after the end."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > FORGET_SECONDS:
                machine = _look(MachineRef(path.stem, after_step=ALL_READ), now - FORGET_SECONDS)
                if machine and machine.state is MachineState.GONE:
                    path.unlink()


def _folder() -> Path:
    return Path(settings.STOKER_HOME) / "simulated"


@contextlib.contextmanager
def _files() -> Iterator[None]:
    """A home that is not there (a disk not mounted) must not look like a home without machines."""
    try:
        if not Path(settings.STOKER_HOME).is_dir():
            raise Unavailable(f"The folder {settings.STOKER_HOME} is not there: nothing is known about its machines.")
        yield
    except OSError as error:
        raise Unavailable(f"The simulated machines cannot be read: {error}.") from error
