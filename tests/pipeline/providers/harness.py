"""What the conformance suite must know of a provider to try it out. One subclass for each provider."""

from __future__ import annotations

import abc
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from django.utils.module_loading import import_string

from pipeline.providers.base import Account, CreateRequest, MachineRef, MachineState, Provider
from tests.waiting import until

INSTALLATION = "c0ffee00"
TOKEN = "stk-test-2f9c61d0aa1b4c7e9d58"


class Harness(abc.ABC):
    """A provider in surroundings of its own. `settings` is pytest-django's fixture, `home` an empty folder."""

    path: ClassVar[str]  # dotted path of the provider's class
    call_seconds: ClassVar[float] = 2.0  # no call may take longer
    forgets: ClassVar[bool] = False  # outside nothing is left of a machine that has ended: it is missing, not GONE

    def __init__(self, settings: Any, home: Path) -> None:
        self.settings = settings
        self.home = home
        self.names: list[str] = []
        for name, value in self.django_settings().items():
            setattr(settings, name, value)

    def django_settings(self) -> dict[str, Any]:
        """All that the provider reads from Django's settings, as JSON values: other processes get them too."""
        return {"STOKER_HOME": str(self.home), "STOKER_INSTALLATION": INSTALLATION}

    def provider(self) -> Provider:
        """A new object, as another process would make it."""
        account = self.account()
        made: Provider = import_string(self.path)(Account(**account) if account else None)
        return made

    @abc.abstractmethod
    def lasting(self, name: str) -> CreateRequest:
        """A request for a machine that lives until it is stopped, and can be stopped within seconds."""

    @abc.abstractmethod
    def ending(self, name: str) -> CreateRequest:
        """A request for a machine that comes to its own good end within seconds."""

    @abc.abstractmethod
    def too_much(self) -> CreateRequest:
        """A request for which there is no capacity."""

    @abc.abstractmethod
    def cut_off(self) -> None:
        """From now on the provider cannot be reached."""

    def ref(self, name: str) -> MachineRef:
        """What the server has in hand of a machine it asked for: its name, and where that leads nowhere its id."""
        return MachineRef(name)

    def existing(self) -> list[str]:
        """The names of what exists outside and is not gone, each as often as it exists."""
        return [machine.name for machine in self.provider().inventory()]

    def account(self) -> dict[str, Any] | None:
        """The account the provider is opened with, as JSON values; None where it needs none."""
        return None

    def new_name(self, installation: str = INSTALLATION) -> str:
        name = f"stoker-{installation}-{uuid.uuid4().hex[:12]}-a1"
        self.names.append(name)
        return name

    def create(self, *, ends: bool = False) -> str:
        name = self.new_name()
        self.provider().create(self.ending(name) if ends else self.lasting(name))
        return name

    def request(self, name: str, **values: Any) -> CreateRequest:
        common: dict[str, Any] = {
            "name": name,
            "gpu_type": "",
            "gpu_count": 1,
            "cloud": "",
            "environment": {"JOB_ID": "job", "JOB_TOKEN": TOKEN, "METRICS_API_URL": "http://127.0.0.1:9/api"},
            "max_seconds": 3600,
            "seed": 7,
        }
        return CreateRequest(**(common | values))

    def state(self, name: str) -> MachineState | None:
        machine = self.provider().observe([self.ref(name)]).get(name)
        return machine.state if machine else None

    def end(self, name: str, *, force: bool = False, timeout: float = 15.0) -> None:
        """Stop as the server does: again and again until the machine is gone."""

        def gone() -> bool:
            self.provider().stop(self.ref(name), force=force)
            return self.state(name) in (MachineState.GONE, None)

        until(gone, timeout, f"{name} to be gone")

    def close(self) -> None:
        """Leave nothing running."""
        for name in self.names:
            self.end(name, force=True)


def is_sentence(text: str) -> bool:
    return len(text.split()) >= 3 and text[0].isupper() | (not text[0].isalpha()) and text.rstrip().endswith((".", ")"))


PRICE = Decimal("1.25")
