from __future__ import annotations

from tests.pipeline.conftest import world

__all__ = ["world"]
