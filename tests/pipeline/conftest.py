from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from datasets import nudge
from tests.fakes.provider import ScriptedProvider, World


@pytest.fixture
def world(settings: Any) -> Iterator[World]:
    """A fresh outside world, and the scripted provider installed as the only one."""
    settings.STOKER_PROVIDERS = {"scripted": "tests.fakes.provider.ScriptedProvider"}
    nudge.reset()
    ScriptedProvider.world = World()
    yield ScriptedProvider.world
    ScriptedProvider.world = World()


@pytest.fixture
def rented(world: World, settings: Any) -> World:
    """The same, with a provider beside it that a key opens; no key is known there yet."""
    settings.STOKER_PROVIDERS = settings.STOKER_PROVIDERS | {"rented": "tests.fakes.provider.RentedProvider"}
    return world
