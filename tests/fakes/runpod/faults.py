"""Scripted misfortune: what goes wrong with which call or pod, how often, and from which time on.

A fault is data: a kind, whom it hits (operation, pod name, GPU, cloud, data centre) and when (`after` so many matching
calls, `times` at most, `for_seconds` of the imitated time). Several that fit the same call befall it together. KINDS
lists every kind with its own values.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.fakes.runpod.replies import Call

CALL, VIEW, LIFE = "call", "view", "life"
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
NO_RESOURCES = "This machine does not have the resources to deploy your pod. Please try a different machine"


@dataclass(frozen=True)
class Kind:
    """`scope`: it changes the answer to a call, how a pod is shown, or the life of a pod (from its creation on)."""

    scope: str
    what: str
    operation: str = "*"
    values: dict[str, Any] = field(default_factory=dict)  # what else it takes, with defaults
    times: int | None = None
    at_once: bool = False  # LIFE: hits pods that exist, too


KINDS: dict[str, Kind] = {
    # Answers
    "cut": Kind(CALL, "Nothing is done, and the connection is cut."),
    "lost": Kind(CALL, "It is done, but the connection is cut before the answer.", "create"),
    "delay": Kind(CALL, "It is done; the answer comes late.", "*", {"seconds": 1.0}),
    "error": Kind(
        CALL, "An error, with or without effect, as JSON or HTML.", "*",
        {"status": 500, "effect": False, "html": False, "detail": "Something went wrong. Please try again later."},
    ),
    "down": Kind(CALL, "The provider is down: 503 to everything.", "*", {"status": 503, "html": True}),
    "html": Kind(CALL, "It is done, but a proxy's HTML page comes back with 200.", "list"),
    "garbled": Kind(CALL, "It is done; the JSON of the answer stops in the middle.", "create"),
    "short": Kind(CALL, "It is done; the connection ends in the middle of the body.", "create"),
    "no_id": Kind(CALL, "It is done; the answer names no id.", "create"),
    "rate_limit": Kind(CALL, "429, with Retry-After unless `retry_after` is null.", "*", {"retry_after": 12}),
    "no_capacity": Kind(CALL, "400 with the text that means no capacity.", "create", {"detail": NO_CAPACITY}),
    "no_funds": Kind(CALL, "402: the balance is too low.", "create"),
    "not_allowed": Kind(CALL, "403 as JSON: this GPU pool is not for you.", "create"),
    "blocked": Kind(CALL, "403 without JSON, as the network in front answers: error code: 1010."),
    "revoked": Kind(CALL, "401: the key counts no longer."),
    "pretend": Kind(CALL, "The answer says it was done, but nothing was.", "delete"),
    "empty_list": Kind(CALL, "200 and no pods, though some run.", "list"),
    "no_pagination": Kind(CALL, "The list lacks its `pagination`.", "list"),
    "plant": Kind(CALL, "Just before the call a pod of another hand appears.", "list", {"pod": "foreign"}, times=1),
    # How pods are shown
    "hide": Kind(VIEW, "The pod is missing: from the list, or to GET (404), as `operation` says.", "list"),
    "late": Kind(VIEW, "The pod is missing until it is so old; DELETE says 404, too.", "*", {"seconds": 90.0}),
    "change": Kind(VIEW, "Fields of the pod have other values: `fields` is laid over it.", "*", {"fields": {}}),
    "drop": Kind(VIEW, "Fields of the pod are missing.", "*", {"fields": []}),
    # What becomes of pods
    "stuck": Kind(
        LIFE, "It stays PROVISIONING, STARTING, or RUNNING with an empty runtime.", "create", {"at": "RUNNING"}
    ),
    "start_error": Kind(LIFE, "STARTING becomes ERROR.", "create"),
    "slow_boot": Kind(LIFE, "The image is pulled for so long.", "create", {"seconds": 1800.0}),
    "restart_loop": Kind(
        LIFE, "The container dies and starts again, `loops` times or for ever.", "create",
        {"seconds": 5.0, "loops": None},
    ),
    "preempt": Kind(
        LIFE, "SIGTERM, SIGKILL after `grace`, then EXITED; `seconds` after its start.", "create",
        {"seconds": 0.0, "grace": 5.0, "stale_polls": 0}, times=1, at_once=True,
    ),
    "vanish": Kind(LIFE, "Killed, and 404 from then on, without notice.", "create", {"seconds": 0.0}, 1, True),
    "price": Kind(LIFE, "It is billed at another price.", "create", {"price": "1.00", "seconds": 0.0}, 1, True),
    "linger": Kind(LIFE, "DELETE answers 204, but it runs and is shown for so many looks.", "create", {"polls": 3},
                   None, True),
    "locked": Kind(LIFE, "Stop and terminate are refused with 409.", "create", {}, None, True),
    "no_own_key": Kind(LIFE, "The pod's own key may not even end the pod: 403.", "create", {}, None, True),
    "duplicate": Kind(LIFE, "Two pods are made of one request.", "create", times=1),
    "cut_off": Kind(LIFE, "The program in the pod cannot reach the server.", "create"),
    "wiped_disk": Kind(LIFE, "The container's disk is emptied whenever the container starts again.", "create"),
}  # fmt: skip
_MATCHERS = ("operation", "name", "gpu", "cloud", "place", "after", "times", "for_seconds")


class Nonsense(ValueError):
    """Not a fault: the message says what is wrong and what there is."""


@dataclass
class Fault:
    kind: str
    operation: str
    name: str = "*"
    gpu: str = "*"
    cloud: str = "*"
    place: str = "*"
    after: int = 0
    times: int | None = None
    until: float | None = None
    values: dict[str, Any] = field(default_factory=dict)
    id: int = 0
    seen: int = 0
    hits: int = 0

    @property
    def scope(self) -> str:
        return KINDS[self.kind].scope

    def fits(self, call: Call, now: float) -> bool:
        return (
            (self.until is None or now < self.until)
            and self.operation in ("*", call.operation)
            and self.fits_name(call.pod)
            and fnmatch.fnmatchcase(call.gpu, self.gpu)
            and fnmatch.fnmatchcase(call.cloud, self.cloud)
            and (self.place == "*" or self.place in call.places)
        )

    def fits_name(self, name: str) -> bool:
        return fnmatch.fnmatchcase(name, self.name)

    def take(self) -> bool:
        """Count one occasion; whether this one is hit."""
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class Faults:
    """The script. Calls ask it what is to go wrong; tests and people write it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._list: list[Fault] = []
        self._numbers = 0

    def add(self, now: float, kind: str, **given: Any) -> Fault:
        """Raise Nonsense with a sentence for an unknown kind or value."""
        if kind not in KINDS:
            raise Nonsense(f"There is no fault {kind!r}. There are: {', '.join(KINDS)}.")
        known = KINDS[kind]
        if unknown := [key for key in given if key not in _MATCHERS and key not in known.values]:
            takes = ", ".join((*_MATCHERS, *known.values))
            raise Nonsense(f"A fault {kind!r} takes no {unknown[0]!r}. It takes: {takes}.")
        for_seconds = given.get("for_seconds")
        fault = Fault(
            kind,
            given.get("operation", known.operation),
            **{key: given[key] for key in ("name", "gpu", "cloud", "place", "after") if key in given},
            times=given.get("times", known.times),
            until=None if for_seconds is None else now + float(for_seconds),
            values={key: given.get(key, default) for key, default in known.values.items()},
        )
        with self._lock:
            self._numbers += 1
            fault.id = self._numbers
            self._list.append(fault)
        return fault

    def clear(self, id_: int | None = None) -> int:
        """Take one or all back; how many were."""
        with self._lock:
            kept = [] if id_ is None else [fault for fault in self._list if fault.id != id_]
            removed = len(self._list) - len(kept)
            self._list = kept
            return removed

    def for_call(self, call: Call, scope: str, now: float) -> list[Fault]:
        """Those that hit this call, each counted once."""
        with self._lock:
            return [f for f in self._list if f.scope == scope and f.fits(call, now) and f.take()]

    def for_view(self, call: Call, names: list[str], now: float) -> list[Fault]:
        """Those that change how one of these pods is shown in this call; a call counts once."""
        with self._lock:
            return [
                fault
                for fault in self._list
                if fault.scope == VIEW
                and fault.operation in ("*", call.operation)
                and (fault.until is None or now < fault.until)
                and any(fault.fits_name(name) for name in names)
                and fault.take()
            ]

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._list]

    def restore(self, saved: list[dict[str, Any]]) -> None:
        with self._lock:
            self._list = [Fault(**row) for row in saved]
            self._numbers = max((fault.id for fault in self._list), default=0)

    def __iter__(self) -> Iterator[Fault]:
        with self._lock:
            return iter(list(self._list))
