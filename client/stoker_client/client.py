"""The way in: one object for one server and one person."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, Unpack

from stoker_client.datasets import Datasets
from stoker_client.jobs import Jobs
from stoker_client.shapes import Estimate, NewJob
from stoker_client.transport import OnWait, Transport


class Client:
    """Close it in the end, or use it in a `with` block. Not to be shared by threads.

    `token` is an API token of yours, made in the settings of the pages. While the server is away or busy, requests are
    tried again for `patience` seconds; `on_wait` hears of it.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = 60.0,
        timeout: float = 30.0,
        on_wait: OnWait | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.transport = Transport(url, token, patience=patience, timeout=timeout, on_wait=on_wait, pause=pause)
        self.datasets = Datasets(self.transport, pause)
        self.jobs = Jobs(self.transport, pause)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def me(self) -> dict[str, Any]:
        """Who you are here. Raise NotSignedIn for a wrong token."""
        return dict(self.transport.get("/api/me/"))

    def estimate(self, **job: Unpack[NewJob]) -> Estimate:
        """What a job would take and cost. Makes nothing; raise Refused for what could not be made."""
        return Estimate.of(self.transport.post("/api/estimates/", {k: v for k, v in job.items() if k != "start"}))

    def providers(self) -> list[dict[str, Any]]:
        """Where jobs can run, with machines and prices."""
        return list(self.transport.get("/api/providers/"))

    def presets(self) -> list[dict[str, Any]]:
        return list(self.transport.get("/api/presets/"))

    def base_models(self) -> list[dict[str, Any]]:
        return list(self.transport.get("/api/base-models/"))

    def credentials(self) -> list[dict[str, Any]]:
        """Your accounts at providers. Keys themselves are never shown."""
        found = self.transport.get("/api/credentials/")
        return list(found["results"] if isinstance(found, dict) else found)

    def spending(self, *, by: str = "day", first: str | None = None, last: str | None = None) -> dict[str, Any]:
        """What your jobs have cost by day, provider or job, and how this month stands."""
        return dict(self.transport.get("/api/spending/", by=by, **{"from": first, "to": last}))

    def notifications(self, *, unread: bool | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest first."""
        told = None if unread is None else str(unread).lower()
        return list(self.transport.get("/api/notifications/", unread=told, page_size=limit)["results"])

    def mark_all_read(self) -> None:
        self.transport.post("/api/notifications/read-all/")
