"""One imitated pod: where it is in its life, what it has cost, and how the API shows it. Knows no server."""

from __future__ import annotations

import dataclasses
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.fakes.runpod.clock import text

ALPHABET = string.ascii_lowercase + string.digits
PROVISIONING, STARTING, RUNNING, EXITED = "PROVISIONING", "STARTING", "RUNNING", "EXITED"
ERROR, TERMINATED = "ERROR", "TERMINATED"
ACTIONS = {
    PROVISIONING: ["stop", "terminate"],
    STARTING: ["stop", "terminate"],
    RUNNING: ["stop", "restart", "terminate"],
    EXITED: ["start", "terminate"],
    ERROR: ["start", "terminate"],
    TERMINATED: [],
}
# What `runtime` is before there is one: sources show both, so clients meet both.
NOT_YET: dict[str, dict[str, Any]] = {PROVISIONING: {}, RUNNING: {}}
EVENTS_KEPT = 200


@dataclass(frozen=True)
class Boot:
    """How many seconds a pod spends before its container runs, and where it stops for ever (`stuck`), if it does."""

    provisioning: float = 1.0
    starting: float = 2.0
    container: float = 1.0  # RUNNING with an empty runtime: the image is being pulled
    stuck: str = ""
    error: bool = False  # STARTING becomes ERROR

    @property
    def total(self) -> float:
        return self.provisioning + self.starting + self.container


@dataclass
class Pod:
    name: str
    account: str
    body: dict[str, Any]  # as it was asked for
    created_at: float
    price: Decimal
    gpu: str = ""
    count: int = 1
    cloud: str = "SECURE"
    place: str = "EU-RO-1"
    boot: Boot = field(default_factory=Boot)
    id: str = field(default_factory=lambda: "".join(secrets.choice(ALPHABET) for _ in range(14)))
    # Good for this pod alone. Shaped as the provider's keys are.
    key: str = field(default_factory=lambda: f"rpa_{secrets.token_hex(20).upper()}")
    booting_since: float = 0.0
    container_since: float | None = None  # of the running container, where one is really started
    restarts: int = 0
    stopped_at: float | None = None
    ended_at: float | None = None
    ending: str = ""
    rates: list[tuple[float, Decimal]] = field(default_factory=list)  # from when it is billed at which price
    timers: list[dict[str, Any]] = field(default_factory=list)  # {"at", "do", ...}: what will happen to it
    traits: dict[str, Any] = field(default_factory=dict)  # lasting faults: see faults.py
    grace: float = 5.0  # seconds between SIGTERM and SIGKILL when it is stopped
    events: list[tuple[float, str]] = field(default_factory=list)  # the system log

    def __post_init__(self) -> None:
        self.booting_since = self.booting_since or self.created_at
        self.rates = self.rates or [(self.created_at, self.price)]

    @property
    def over(self) -> bool:
        return self.ended_at is not None

    def status(self, now: float) -> str:
        if self.over:
            return TERMINATED
        if self.stopped_at is not None:
            return EXITED
        age = now - self.booting_since
        if self.boot.stuck == PROVISIONING or age < self.boot.provisioning:
            return PROVISIONING
        if self.boot.stuck == STARTING or age < self.boot.provisioning + self.boot.starting:
            return STARTING
        return ERROR if self.boot.error else RUNNING

    def container_runs(self, now: float) -> bool:
        """Whether the main process ought to be running now."""
        if self.status(now) != RUNNING or self.boot.stuck == RUNNING:
            return False
        return now - self.booting_since >= self.boot.total

    def uptime(self, now: float) -> float:
        since = self.booting_since + self.boot.total if self.container_since is None else self.container_since
        up = max(0.0, now - since)
        loop = self.traits.get("restart_loop")
        if loop and self.container_since is None:  # no real process: the loop is computed
            done = int(up // loop["seconds"])
            done = done if loop["loops"] is None else min(done, loop["loops"])
            up -= done * loop["seconds"]
        return up

    def bill(self, now: float) -> Decimal:
        return self.bill_between(self.created_at, now)

    def bill_between(self, start: float, end: float) -> Decimal:
        """US dollars for its time within the two moments."""
        total = Decimal(0)
        last = end if self.ended_at is None else min(end, self.ended_at)
        starts = [since for since, _ in self.rates]
        for (since, price), until in zip(self.rates, [*starts[1:], last], strict=True):
            seconds = min(until, last) - max(since, start)
            if seconds > 0:
                total += Decimal(str(round(seconds, 6))) * price / 3600
        return total

    def set_rate(self, now: float, price: Decimal) -> None:
        self.rates.append((now, price))

    def note(self, now: float, line: str) -> None:
        self.events.append((now, line))
        del self.events[:-EVENTS_KEPT]

    def as_json(self, now: float) -> dict[str, Any]:
        """As the API shows it, before any fault touches it."""
        status = self.status(now)
        body = self.body
        running = self.container_runs(now)
        stale = status == EXITED and self.traits.get("stale_polls", 0) > 0
        return {
            "id": self.id,
            "name": self.name,
            "status": status,
            "actions": ACTIONS[status],
            "image": body.get("image"),
            "args": body.get("args"),
            **{key: body[key] for key in ("cmd", "entrypoint") if key in body},
            "disk": body.get("disk"),
            "mounts": body.get("mounts"),
            "ports": body.get("ports", []),
            "env": body.get("env", {}),
            "registry": body.get("registry"),
            "cloud": self.cloud,
            "dataCenterId": self.place,
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if status in (EXITED, TERMINATED) else float(self.rates[-1][1]),
            "locked": bool(self.traits.get("locked")),
            "runtime": self._runtime(now) if running or stale else NOT_YET.get(status),
            "createdAt": text(self.created_at),
            "startedAt": text(self.booting_since + self.boot.total) if running else None,
            "globalNetworking": {"enabled": bool(body.get("globalNetworking"))},
            "gpu": {"id": self.gpu, "count": self.count, "vcpuCount": 9 * self.count, "memory": 50 * self.count},
        }

    def _runtime(self, now: float) -> dict[str, Any]:
        return {
            "uptime": int(self.uptime(now)),
            "gpus": [{"util": 93, "memoryUtil": 60} for _ in range(self.count)],
            "cpu": {"util": 20},
            "memory": {"util": 30},
            "ports": [],
        }

    def saved(self) -> dict[str, Any]:
        """JSON from which `restored` makes the same pod."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {
            "price": str(self.price),
            "boot": dataclasses.asdict(self.boot),
            "rates": [[since, str(price)] for since, price in self.rates],
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Pod:
        return cls(
            **{
                **saved,
                "price": Decimal(saved["price"]),
                "boot": Boot(**saved["boot"]),
                "rates": [(since, Decimal(price)) for since, price in saved["rates"]],
                "events": [(at, line) for at, line in saved["events"]],
            }
        )
