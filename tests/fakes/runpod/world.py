"""Everything that is true at the imitated provider: accounts, pods and their bill. Thread-safe; knows no HTTP."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.fakes.runpod import catalog
from tests.fakes.runpod.clock import Clock
from tests.fakes.runpod.pod import EXITED, Boot, Pod


@dataclass
class Account:
    """`id` is a digest of its key: the key itself is written down nowhere."""

    id: str
    deposit: str = "100"
    revoked: bool = False


class World:
    def __init__(self, clock: Clock, *, boot: Boot, any_key: bool = False, state: Path | None = None) -> None:
        self.clock = clock
        self.boot = boot
        self.any_key = any_key  # any key that does not begin with "wrong" opens an account of its own
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.pods: dict[str, Pod] = {}  # by id, in the order they were made; ended ones stay for the bill
        self.gpus = catalog.gpus()
        self.things: dict[str, dict[str, dict[str, Any]]] = {"registries": {}, "network-volumes": {}}
        self.extra: dict[str, Any] = {}  # what others keep in the same state file
        self._settled: dict[str, Decimal] = {}  # by account: the bill of its pods that have ended
        self._balances_looked_at = 0.0
        self._state = state
        if state is not None and state.exists():
            self._load(json.loads(state.read_text()))

    # Accounts

    def add_account(self, key: str, deposit: float | str = 100) -> Account:
        with self.lock:
            account = Account(account_id(key), str(deposit))
            self.accounts[account.id] = account
            self.save()
            return account

    def account_of(self, key: str) -> Account | None:
        """The account a key opens; None for an unknown or revoked one."""
        with self.lock:
            account = self.accounts.get(account_id(key))
            if account is None and self.any_key and self._may_open(key):
                account = self.add_account(key)
            return None if account is None or account.revoked else account

    def _may_open(self, key: str) -> bool:
        """Whether an unknown key is a person's: the key of a pod opens nothing else, not even when the pod is gone."""
        return bool(key) and not key.startswith("wrong") and all(pod.key != key for pod in self.pods.values())

    def pod_of_key(self, key: str) -> Pod | None:
        """The pod whose own key this is."""
        with self.lock:
            return next((pod for pod in self.pods.values() if pod.key == key and not pod.over), None)

    def balance(self, account: Account) -> Decimal:
        with self.lock:
            now = self.clock.now()
            live = sum((pod.bill(now) for pod in self.live(account.id)), Decimal(0))
            return Decimal(account.deposit) - live - self._settled.get(account.id, Decimal(0))

    def spend_per_hour(self, account: Account) -> Decimal:
        with self.lock:
            return sum((pod.rates[-1][1] for pod in self.live(account.id)), Decimal(0))

    # Pods

    def live(self, account: str = "") -> Iterator[Pod]:
        """Pods that have not ended, of one account or of all."""
        return (pod for pod in self.pods.values() if not pod.over and account in ("", pod.account))

    def named(self, pattern: str, *, ended: bool = True) -> list[Pod]:
        """Pods by name (`*` and `?` stand for anything) or by id, the oldest first."""
        with self.lock:
            pods = self.pods.values() if ended else self.live()
            return [pod for pod in pods if fnmatch.fnmatchcase(pod.name, pattern) or pod.id == pattern]

    def create(self, account: Account, body: Mapping[str, Any], *, boot: Boot | None = None) -> Pod:
        """Make a pod of a body that has been checked."""
        with self.lock:
            gpu = self.gpus[body["gpu"]["id"]]
            count, cloud = body["gpu"].get("count", 1), body.get("cloud", catalog.SECURE)
            price = gpu.price(cloud)
            assert price is not None, "an unchecked body"
            places = [place for place in body.get("dataCenterIds") or catalog.PLACES if place in catalog.PLACES]
            pod = Pod(
                name=body["name"],
                account=account.id,
                body=dict(body),
                created_at=self.clock.now(),
                price=price * count,
                gpu=gpu.id,
                count=count,
                cloud=cloud,
                place=places[0],
                boot=boot or self.boot,
            )
            pod.note(pod.created_at, "create pod")
            self.pods[pod.id] = pod
            self.save()
            return pod

    def plant(self, name: str, key: str = "") -> Pod:
        """A pod made by another hand, in the account of `key` or in the first one."""
        account = self.account_of(key) if key else next(iter(self.accounts.values()), None)
        if account is None:
            raise LookupError("There is no such account.")
        gpu = {"id": next(iter(self.gpus)), "count": 1}
        pod = self.create(account, {"name": name, "image": "imitated/foreign", "gpu": gpu})
        pod.traits["foreign"] = True  # what runs in it is none of our programs
        self.save()
        return pod

    def stop(self, pod: Pod, *, grace: float = 5.0, stale_polls: int = 0) -> None:
        """What a stop, an outbid or a host failure looks like: EXITED, at no cost, and no reason given."""
        with self.lock:
            now = self.clock.now()
            if pod.over or pod.stopped_at is not None:
                return
            pod.stopped_at, pod.grace, pod.container_since = now, grace, None
            pod.traits["stale_polls"] = stale_polls
            pod.set_rate(now, Decimal(0))
            pod.note(now, "stop container")
            self.save()

    def start(self, pod: Pod) -> None:
        with self.lock:
            now = self.clock.now()
            pod.stopped_at, pod.booting_since, pod.container_since = None, now, None
            pod.set_rate(now, pod.price)
            pod.note(now, "start container")
            self.save()

    def restart(self, pod: Pod) -> None:
        with self.lock:
            self.stop(pod)
            self.start(pod)

    def delete(self, pod: Pod) -> None:
        """Order the end. With the fault `linger` it runs, is billed and is shown until some polls have passed."""
        with self.lock:
            if pod.traits.get("linger", 0) > 0:
                pod.traits["lingering"] = True
                self.save()
            else:
                self.end(pod, "deleted")

    def end(self, pod: Pod, ending: str, *, grace: float = 5.0) -> None:
        with self.lock:
            if pod.over:
                return
            pod.ended_at, pod.ending, pod.grace = self.clock.now(), ending, grace
            pod.note(pod.ended_at, f"remove container ({ending})")
            self._settled[pod.account] = self._settled.get(pod.account, Decimal(0)) + pod.bill(pod.ended_at)
            self.save()

    def set_price(self, pod: Pod, price: Decimal) -> None:
        """From now on it is billed, and shown, at another price."""
        with self.lock:
            pod.price = price
            if not pod.over and pod.stopped_at is None:
                pod.set_rate(self.clock.now(), price)
            self.save()

    def polled(self, pod: Pod) -> None:
        """A look showed the pod: what lasts for some looks is over one look sooner."""
        with self.lock:
            if pod.status(self.clock.now()) == EXITED and pod.traits.get("stale_polls", 0) > 0:
                pod.traits["stale_polls"] -= 1
            if pod.traits.get("lingering"):
                pod.traits["linger"] -= 1
                if pod.traits["linger"] <= 0:
                    self.end(pod, "deleted")

    def tick(self) -> None:
        """Let happen what is due: timers of pods, and accounts that have run dry."""
        with self.lock:
            now = self.clock.now()
            for pod in list(self.live()):
                for timer in [timer for timer in pod.timers if timer["at"] <= now]:
                    pod.timers.remove(timer)
                    self._happen(pod, timer)
            if now - self._balances_looked_at >= 1:
                self._balances_looked_at = now
                self._end_what_cannot_be_paid()

    def _happen(self, pod: Pod, timer: Mapping[str, Any]) -> None:
        if timer["do"] == "preempt":
            self.stop(pod, grace=timer["grace"], stale_polls=timer["stale_polls"])
        elif timer["do"] == "vanish":
            self.end(pod, "vanished", grace=0)
        elif timer["do"] == "price":
            self.set_price(pod, Decimal(str(timer["price"])))

    def _end_what_cannot_be_paid(self) -> None:
        for account in self.accounts.values():
            pods = list(self.live(account.id))
            if pods and self.balance(account) <= 0:
                for pod in pods:
                    self.end(pod, "balance")

    # What is kept

    def save(self) -> None:
        """Write everything down, so that a killed process goes on where it was. Nothing without a state file."""
        if self._state is None:
            return
        with self.lock:
            document = {
                "clock": self.clock.as_json(),
                "accounts": [asdict(account) for account in self.accounts.values()],
                "pods": [pod.saved() for pod in self.pods.values()],
                "things": self.things,
                "stock": {gpu.id: gpu.stock for gpu in self.gpus.values()},
                "extra": self.extra,
            }
            draft = self._state.with_name(f".{self._state.name}.draft")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(document, file)
            draft.replace(self._state)

    def _load(self, saved: Mapping[str, Any]) -> None:
        self.clock.restore(saved["clock"])
        self.accounts = {row["id"]: Account(**row) for row in saved["accounts"]}
        self.pods = {row["id"]: Pod.restored(row) for row in saved["pods"]}
        self.things, self.extra = saved["things"], saved["extra"]
        for id_, stock in saved["stock"].items():
            self.gpus[id_] = replace(self.gpus[id_], stock=stock)
        for pod in self.pods.values():
            if pod.ended_at is not None:
                self._settled[pod.account] = self._settled.get(pod.account, Decimal(0)) + pod.bill(pod.ended_at)


def account_id(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:16]
