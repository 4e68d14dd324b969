"""What every provider offers one person now. All are asked side by side; none is waited for longer than a moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from pipeline import accounts
from pipeline.providers.base import Offer, Provider, ProviderError, TakesFallbacks
from pipeline.providers.registry import provider_class, provider_names

logger = logging.getLogger(__name__)

PATIENCE = 8.0  # seconds for all of them together


@dataclass(frozen=True)
class Stand:
    """One provider. `problem` is a sentence when its offers cannot be had now, else empty."""

    name: str
    label: str
    simulated: bool
    needs_account: bool
    has_account: bool
    takes_fallbacks: bool = False
    offers: Sequence[Offer] = ()
    problem: str = ""

    @property
    def available(self) -> bool:
        return not self.problem


def stands(owner: Any) -> list[Stand]:
    """All installed providers, in their order."""
    opened: dict[str, Provider] = {}
    without: dict[str, ProviderError] = {}
    for name in provider_names():
        try:
            opened[name] = accounts.provider_for(owner, name)
        except ProviderError as error:
            without[name] = error
    answers: dict[str, Sequence[Offer] | Exception] = {**without, **_ask(opened)}
    return [_stand(name, answers.get(name)) for name in provider_names()]


def _stand(name: str, answer: Sequence[Offer] | Exception | None) -> Stand:
    kind = provider_class(name)
    offers: Sequence[Offer] = ()
    problem = ""
    if answer is None:
        problem = f"{kind.label} has not answered in time. Try again in a minute."
    elif isinstance(answer, ProviderError):
        problem = str(answer)
    elif isinstance(answer, Exception):
        problem = f"{kind.label} could not be asked for its machines. Try again in a minute."
    else:
        offers = answer
    has_account = not isinstance(answer, accounts.NoAccount)
    return Stand(
        name, kind.label, kind.simulated, kind.needs_account, has_account, isinstance(kind, TakesFallbacks), offers,
        problem,
    )  # fmt: skip


def _ask(opened: Mapping[str, Provider]) -> dict[str, Sequence[Offer] | Exception]:
    """What has come in time. Whoever is late is left to the time limits of its own calls.

    The threads use no database: providers do not know it.
    """
    come: SimpleQueue[tuple[str, Sequence[Offer] | Exception]] = SimpleQueue()

    def ask(name: str, provider: Provider) -> None:
        try:
            come.put((name, list(provider.offers())))
        except ProviderError as error:
            come.put((name, error))
        except Exception as error:
            logger.exception("the offers of %s could not be read", name)
            come.put((name, error))

    for name, provider in opened.items():
        threading.Thread(target=ask, args=(name, provider), daemon=True, name=f"offers-{name}").start()
    found: dict[str, Sequence[Offer] | Exception] = {}
    end = time.monotonic() + PATIENCE
    while len(found) < len(opened):
        try:
            name, answer = come.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            break
        found[name] = answer
    return found
