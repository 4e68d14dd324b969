"""A RunPod of our own on localhost: REST v2 and the little GraphQL that is used, with its own clock, bill and faults.

    with FakeRunPod({"key": 50}) as fake:
        fake.url                                    # http://127.0.0.1:PORT/v2
        fake.fault("lost", name="stoker-*-a1")      # the first pod of each job is made, but nobody hears of it
        fake.clock.advance(3600)                    # an hour passes, and is billed
        fake.bill("stoker-...-a1")

Every price is invented. `python -m tests.fakes.runpod --help` runs it by itself; control.py says how to script it then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.fakes.runpod import lives
from tests.fakes.runpod.api import Api
from tests.fakes.runpod.clock import Clock
from tests.fakes.runpod.faults import KINDS, LIFE, Fault, Faults
from tests.fakes.runpod.pod import Boot, Pod
from tests.fakes.runpod.pods import Host
from tests.fakes.runpod.replies import Call, Reply
from tests.fakes.runpod.server import Server
from tests.fakes.runpod.world import Account, World, account_id

__all__ = ["KEY", "Boot", "Call", "Clock", "FakeRunPod", "Host", "Pod"]

KEY = "playground-key"
TICK_SECONDS = 0.05
CALLS_KEPT = 100_000


class FakeRunPod:
    """`accounts` maps keys to deposits in US dollars. With a `host` the pods run a program, without one only in words.

    The clock stands still unless a `speed` (or a host, which needs real time) says otherwise.
    """

    def __init__(
        self,
        accounts: Mapping[str, float] | None = None,
        *,
        speed: float | None = None,
        boot: Boot | None = None,
        host: Host | None = None,
        state: Path | None = None,
        port: int = 0,
        any_key: bool = False,
    ) -> None:
        self.clock = Clock((1.0 if host else 0.0) if speed is None else speed)
        self.world = World(self.clock, boot=boot or Boot(), any_key=any_key, state=state)
        self.faults = Faults()
        self.faults.restore(self.world.extra.get("faults", []))
        for key, deposit in ({KEY: 100} if accounts is None else accounts).items():
            if account_id(key) not in self.world.accounts:
                self.world.add_account(key, deposit)
        self.api = Api(self.world, self.faults)
        self.host = host
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._server = Server(self, port)
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="fake RunPod's clock", daemon=True)
        if host is not None:
            host.api_url = self.url
            host.adopt(self.world)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/v2"

    @property
    def graphql_url(self) -> str:
        return f"{self.origin}/graphql"

    def __enter__(self) -> FakeRunPod:
        self._server.begin()
        self._ticker.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self, *, grace: float = 0) -> None:
        """Stop answering. Programs of pods are ended; given a grace, as a host that shuts down ends them: the pods are
        EXITED afterwards, and what they could still save is saved."""
        if self.host is not None and grace > 0:
            for pod in self.pods():
                if pod.container_runs(self.clock.now()):
                    self.world.stop(pod, grace=grace)
            deadline = time.monotonic() + grace + 1
            while self.host.running() and time.monotonic() < deadline:
                time.sleep(TICK_SECONDS)
        self._stopping.set()
        self._ticker.join()
        self._server.end()
        if self.host is not None:
            self.host.kill()

    # The script

    def fault(self, kind: str, **values: Any) -> Fault:
        """From now on something goes wrong: see faults.KINDS. What befalls pods befalls those that exist, too, where
        that makes sense (preempt, vanish, ...)."""
        with self.world.lock:
            now = self.clock.now()
            fault = self.faults.add(now, kind, **values)
            if KINDS[kind].scope == LIFE and KINDS[kind].at_once:
                for pod in self.world.named(fault.name, ended=False):
                    if fault.take():
                        lives.strike(pod, fault, now)
            self._keep_faults()
            self.world.tick()
        return fault

    def clear(self, id_: int | None = None) -> int:
        """Nothing more goes wrong (or not this): what has befallen pods stays."""
        removed = self.faults.clear(id_)
        self._keep_faults()
        return removed

    def account(self, key: str, deposit: float | None = None, *, revoked: bool | None = None) -> Account:
        """Make an account, or change what is given of one."""
        with self.world.lock:
            account = self.world.accounts.get(account_id(key)) or self.world.add_account(key)
            if deposit is not None:
                account.deposit = str(deposit)
            if revoked is not None:
                account.revoked = revoked
            self.world.save()
            return account

    def plant(self, name: str, key: str = "") -> Pod:
        """A pod that appears by another hand: a person at the console, another program."""
        return self.world.plant(name, key)

    # What is to be seen

    def pods(self, pattern: str = "*", *, ended: bool = False) -> list[Pod]:
        """Pods whose name fits, the oldest first; with those that have ended, if wanted."""
        return self.world.named(pattern, ended=ended)

    def bill(self, pattern: str = "*") -> Decimal:
        """US dollars for all pods, living and ended, whose name fits (or whose id it is)."""
        with self.world.lock:
            now = self.clock.now()
            return sum((pod.bill(now) for pod in self.world.named(pattern)), Decimal(0))

    def calls(self, operation: str = "*", pod: str = "") -> list[Call]:
        """The calls so far, keys blotted out, of one operation and about one pod name if wanted."""
        with self._lock:
            return [call for call in self._calls if operation in ("*", call.operation) and pod in ("", call.pod)]

    def record(self, call: Call, reply: Reply) -> None:
        with self._lock:
            call.number = self._calls[-1].number + 1 if self._calls else 1
            call.status = None if reply.cut == "all" else reply.status
            self._calls.append(call)
            del self._calls[:-CALLS_KEPT]
        if call.faults:
            self._keep_faults()

    def log_lines(self, id_: str, source: str, tail: int) -> list[tuple[float, str, str]]:
        """(when, source, line) as the log call shows them, the oldest first."""
        pod = self.world.pods[id_]
        system = [(at, "system", line) for at, line in list(pod.events)]
        output = self.host.output(pod, tail) if self.host else []
        container = [(self.clock.now(), "container", line) for line in output]
        wanted = {"system": system, "container": container}.get(source, system + container)
        return wanted[-tail:] if tail else []

    def _keep_faults(self) -> None:
        self.world.extra["faults"] = self.faults.as_json()
        self.world.save()

    def _tick(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            self.world.tick()
            if self.host is not None:
                self.host.tick(self.world)
