"""The scripted outside world, for the histories that are played in one process."""

from __future__ import annotations

from tests.pipeline.conftest import world

__all__ = ["world"]
