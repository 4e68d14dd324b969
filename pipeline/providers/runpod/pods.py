"""A pod as RunPod describes it, in the words of `pipeline.providers.base`. No field of it is relied on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings

from pipeline.providers.base import Machine, MachineState
from training.contract import ENV_ATTEMPT, ENV_GPU_COUNT, ENV_INSTALLATION

_DETAILS = {
    "PROVISIONING": (MachineState.STARTING, "RunPod is preparing the machine."),
    "STARTING": (MachineState.STARTING, "The machine is starting."),
    "RUNNING": (MachineState.RUNNING, "The machine runs."),
    "EXITED": (MachineState.EXITED, "The machine was stopped and is still there; RunPod may bill its disk."),
    "ERROR": (MachineState.EXITED, "RunPod says that the machine failed."),
    "TERMINATED": (MachineState.GONE, "RunPod says that the machine is terminated."),
}
_EARLY = datetime.min.replace(tzinfo=UTC)


def machine(pod: dict[str, Any], name: str = "") -> Machine:
    state, detail = _state(pod)
    return Machine(
        name=name or name_of(pod),
        external_id=pod["id"],
        state=state,
        created_at=created_at(pod),
        price_per_hour=amount(pod.get("cost"), least=Decimal("0.000001")),  # 0 while it is not known, or stopped
        detail=detail,
        gpu_type=_text(_inner(pod, "gpu").get("id")),
        cloud=_text(pod.get("cloud")),
    )


def name_of(pod: dict[str, Any]) -> str:
    """The name we gave it. It is in its environment too, because people can rename a pod."""
    env = _inner(pod, "env")
    if env.get(ENV_INSTALLATION) == settings.STOKER_INSTALLATION and _text(env.get(ENV_ATTEMPT)):
        return _text(env[ENV_ATTEMPT])
    return _text(pod.get("name"))


def created_at(pod: dict[str, Any]) -> datetime | None:
    try:
        moment = datetime.fromisoformat(pod.get("createdAt") or "")
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def oldest(pods: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Of several pods of one name the one that was there first; what has not ended comes before what has."""
    return min(pods, key=lambda pod: (is_over(pod), created_at(pod) or _EARLY, pod["id"]))


def is_over(pod: dict[str, Any]) -> bool:
    return pod.get("status") == "TERMINATED"


def amount(value: Any, *, least: Decimal = Decimal(0)) -> Decimal | None:
    """A sum of money, as a number or as text; None for what is none or smaller than `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and least <= number < 1_000_000 else None


def _state(pod: dict[str, Any]) -> tuple[MachineState, str]:
    status = pod.get("status")
    known = _DETAILS.get(status) if isinstance(status, str) else None
    if known is None:
        return MachineState.UNKNOWN, f"RunPod says “{str(status)[:40]}”, from which nothing is concluded."
    state, detail = known
    if state is MachineState.RUNNING:
        given, asked = amount(_inner(pod, "gpu").get("count")), amount(_inner(pod, "env").get(ENV_GPU_COUNT))
        if given is not None and given < max(asked or 0, 1):
            return MachineState.EXITED, f"The machine came with {given:f} of {asked or 1:f} GPUs, so it is of no use."
        # The word alone can mean that the image is still being pulled.
        if not amount(_inner(pod, "runtime").get("uptime"), least=Decimal("0.001")):
            return MachineState.STARTING, "RunPod has started the machine; its container does not run yet."
    return state, detail


def _inner(pod: dict[str, Any], name: str) -> dict[str, Any]:
    value = pod.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
