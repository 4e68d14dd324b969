"""A bar for commands that take long: drawn on a terminal, and nowhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

WIDTH = 30
EVERY_SECONDS = 0.1
CLEAR = "\r\x1b[K"
Item = TypeVar("Item")


def with_bar(items: Sequence[Item], what: str, stream: TextIO | None = None) -> Iterator[Item]:
    """Go through `items`; on a terminal a line on stderr shows how far. It is gone whenever something else is told."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield from items
        return
    drawn_at = 0.0
    try:
        for done, item in enumerate(items):
            if time.monotonic() - drawn_at > EVERY_SECONDS:
                drawn_at = time.monotonic()
                stream.write(CLEAR + bar(done, len(items), what))
                stream.flush()
            yield item
    finally:
        stream.write(CLEAR)
        stream.flush()


def bar(done: int, of: int, what: str) -> str:
    full = WIDTH * done // max(of, 1)
    return f"{'█' * full}{'░' * (WIDTH - full)} {done:,}/{of:,} {what}"
