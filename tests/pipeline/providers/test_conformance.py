"""Runs the conformance suite on every provider of `conformance.HARNESSES`."""

from pathlib import Path
from typing import Any

from pipeline.providers import base
from tests.pipeline.providers.conformance import HARNESSES, ProviderConformance, harness

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "adding-a-provider.md"


class TestConformance(ProviderConformance):
    pass


def test_every_installed_provider_is_in_the_suite(settings: Any) -> None:
    assert {harness.path for harness in HARNESSES} == set(settings.STOKER_PROVIDERS.values())


def test_the_guide_names_everything_a_provider_must_know() -> None:
    text = GUIDE.read_text()
    members = [name for name in (*base.Provider.__annotations__, *vars(base.Provider)) if not name.startswith("_")]
    errors = [error.__name__ for error in base.ProviderError.__subclasses__()]
    states = [state.name for state in base.MachineState]
    assert len(members) >= 13
    assert [word for word in members + errors + states if f"`{word}`" not in text] == []


__all__ = ["TestConformance", "harness"]
