"""Pretends to train: for trying the pages, for load tests and for demonstrations."""

from pipeline.providers.simulated.provider import SimulatedProvider

__all__ = ["SimulatedProvider"]
