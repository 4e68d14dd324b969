"""Runs the conformance suite on every provider of `conformance.HARNESSES`."""

from tests.pipeline.providers.conformance import ProviderConformance, harness


class TestConformance(ProviderConformance):
    pass


__all__ = ["TestConformance", "harness"]
