"""How much is measured: for a table to be written down, for a quick look, and for the test that it runs at all."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    ingest_seconds: float  # of each ingest figure
    floor_seconds: float  # of each floor of ingest
    most_clients: int
    live_posts: int
    most_sockets: int
    stored_steps: int
    reads: int
    jobs: int  # started and cancelled, of each provider
    tasks: int  # no-op tasks, and round trips through Redis


SIZES = {
    "full": Sizes(8, 5, 32, 200, 100, 100_000, 60, 20, 200),
    "quick": Sizes(1, 0.6, 32, 25, 100, 100_000, 8, 2, 30),
    "tiny": Sizes(0.3, 0.2, 2, 3, 2, 2_000, 2, 1, 3),
}
