"""A provider whose machines live in this process and misbehave on command: the outside world of the core's tests."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import ClassVar

from django.utils import timezone

from pipeline.providers.base import (
    Account,
    AuthError,
    CreateRequest,
    Machine,
    MachineRef,
    MachineState,
    Offer,
    ProviderError,
    YesOrNo,
)


@dataclass
class World:
    """Everything that is true outside, and what was asked. Tests change it freely."""

    machines: dict[str, Machine] = field(default_factory=dict)
    requests: dict[str, CreateRequest] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)  # (operation, name)
    hidden: set[str] = field(default_factory=set)  # exist, but looks do not show them
    strays: list[Machine] = field(default_factory=list)  # exist beside `machines`: duplicates, names nobody gave
    list_error: Exception | None = None
    slots: int | None = None
    on_create: Callable[[CreateRequest], None] | None = None  # raise here: nothing is made
    after_create: Callable[[CreateRequest], None] | None = None  # raise here: made, but the answer is lost
    look_error: ProviderError | None = None
    stop_error: ProviderError | None = None
    stops_at_once: bool = True
    accounts: dict[str, str] = field(default_factory=dict)  # key -> account that it opens (RentedProvider)
    rented_by: dict[str, str] = field(default_factory=dict)  # machine -> account
    fault: Callable[[str, Account], None] | None = None  # called with the operation before each call; may raise
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def change(self, name: str, **fields: object) -> None:
        self.machines[name] = replace(self.machines[name], **fields)  # type: ignore[arg-type]

    def end(
        self, name: str, exit_code: int | None = None, detail: str = "The machine is gone.", **fields: object
    ) -> None:
        self.change(name, state=MachineState.GONE, exit_code=exit_code, detail=detail, **fields)

    def count(self, operation: str) -> int:
        return sum(1 for op, _ in self.calls if op == operation)

    def stray(self, name: str, external_id: str, **fields: object) -> Machine:
        """Another machine of that name, which no call of ours made."""
        machine = Machine(name, external_id, MachineState.RUNNING, timezone.now(), Decimal("3.60"))
        self.strays.append(replace(machine, **fields))  # type: ignore[arg-type]
        return self.strays[-1]

    @property
    def alive(self) -> list[Machine]:
        return [m for m in [*self.machines.values(), *self.strays] if m.state is not MachineState.GONE]


class ScriptedProvider:
    name: ClassVar[str] = "scripted"
    label: ClassVar[str] = "Scripted"
    simulated: ClassVar[bool] = False
    runs_program: ClassVar[bool] = True
    stop_is_graceful: ClassVar[bool] = True
    has_slots: ClassVar[bool] = False
    poll_seconds: ClassVar[float] = 5.0
    provision_seconds: ClassVar[int] = 900
    contact_seconds: ClassVar[int] = 600
    needs_account: ClassVar[bool] = False
    finds_by_name: ClassVar[bool] = True
    environment_is_public: ClassVar[bool] = False
    world: ClassVar[World] = World()

    def __init__(self, account: Account | None = None) -> None:
        """The installation's own: there is no account."""

    @property
    def create_is_idempotent(self) -> bool:
        return True

    def offers(self) -> Sequence[Offer]:
        return [
            Offer("scripted", "box", "A box", Decimal("3.60"), memory_gb=24, max_count=4),
            Offer("scripted", "big", "A big box", Decimal("7.20"), memory_gb=80, max_count=1),
        ]

    def free_slots(self) -> int | None:
        return None if self.world.slots is None else max(0, self.world.slots - len(self.world.alive))

    def create(self, request: CreateRequest) -> Machine:
        with self.world.lock:
            self.world.calls.append(("create", request.name))
            if request.name in self.world.machines:
                return self.world.machines[request.name]
            if self.world.on_create:
                self.world.on_create(request)
            machine = Machine(
                request.name, f"m{next(self.world.numbers)}", MachineState.RUNNING, timezone.now(), Decimal("3.60")
            )
            self.world.machines[request.name] = machine
            self.world.requests[request.name] = request
            if self.world.after_create:
                self.world.after_create(request)
            return machine

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        self.world.calls.append(("observe", ",".join(ref.name for ref in refs)))
        if self.world.look_error:
            raise self.world.look_error
        shown = self.world.machines.keys() - self.world.hidden
        return {ref.name: self.world.machines[ref.name] for ref in refs if ref.name in shown}

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        self.world.calls.append(("force" if force else "stop", ref.name))
        if self.world.stop_error:
            raise self.world.stop_error
        if any(one.external_id == ref.external_id for one in self.world.strays):
            self.world.strays = [one for one in self.world.strays if one.external_id != ref.external_id]
            return
        named = self.world.machines.get(ref.name)
        if ref.id_only and named is not None and named.external_id != ref.external_id:
            return
        if ref.name in self.world.machines and (self.world.stops_at_once or force):
            self.world.end(ref.name, detail="Stopped as ordered.")

    def inventory(self) -> Sequence[Machine]:
        self.world.calls.append(("list", ""))
        if self.world.list_error:
            raise self.world.list_error
        return [machine for machine in self.world.alive if machine.name not in self.world.hidden]


class RentedProvider(ScriptedProvider):
    """The same outside world, where a person's key opens an account, and shows the machines of that account alone."""

    name: ClassVar[str] = "rented"
    label: ClassVar[str] = "Rented"
    needs_account: ClassVar[bool] = True
    takes_base_url: ClassVar[bool] = True
    account_options: ClassVar[Mapping[str, str]] = {
        "idempotent": YesOrNo("Yes, when the same request twice makes one machine."),
        "region": "Where machines are made.",
    }

    def __init__(self, account: Account | None = None) -> None:
        assert account is not None
        self.account = account

    def check_account(self) -> str:
        self._enter("check")
        return self._name

    def offers(self) -> Sequence[Offer]:
        self._enter("offers")
        return [replace(offer, provider="rented") for offer in super().offers()]

    def create(self, request: CreateRequest) -> Machine:
        self._enter("create")
        self.world.rented_by.setdefault(request.name, self._name)
        return super().create(request)

    def observe(self, refs: Sequence[MachineRef]) -> Mapping[str, Machine]:
        self._enter("observe")
        return {name: one for name, one in super().observe(refs).items() if self.world.rented_by[name] == self._name}

    def stop(self, ref: MachineRef, *, force: bool = False) -> None:
        self._enter("stop")
        super().stop(ref, force=force)

    def inventory(self) -> Sequence[Machine]:
        self._enter("inventory")
        return [one for one in super().inventory() if self.world.rented_by.get(one.name) == self._name]

    @property
    def _name(self) -> str:
        return self.world.accounts[self.account.secret]

    def _enter(self, operation: str) -> None:
        if self.world.fault:
            self.world.fault(operation, self.account)
        if self.account.secret not in self.world.accounts:
            raise AuthError("Rented does not accept this key. Make a new one there and save it.", status=401)
