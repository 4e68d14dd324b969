from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from stoker_client.errors import StillWaiting, StokerError
from stoker_client.listing import every
from stoker_client.shapes import Dataset
from stoker_client.transport import Transport

Progress = Callable[[int, int], None]  # bytes sent, bytes in all


class Datasets:
    def __init__(self, transport: Transport, pause: Callable[[float], None]) -> None:
        self._transport, self._pause = transport, pause

    def push(
        self,
        path: str | Path,
        *,
        name: str = "",
        format: str = "",  # noqa: A002 - the API's word
        validation_for: str | None = None,
        progress: Progress | None = None,
        key: str | None = None,
    ) -> Dataset:
        """Upload a file; the server begins to check it. A file of any size is read in pieces."""
        path = Path(path)
        if not path.is_file():
            raise StokerError(f"There is no file “{path}”.")
        given = {"name": name, "format": format, "validation_for": validation_for}
        fields = {field: value for field, value in given.items() if value}

        def files() -> dict[str, Any]:
            return {"file": (path.name, _Told(path.open("rb"), path.stat().st_size, progress), "application/x-ndjson")}

        return Dataset.of(self._transport.create("/api/datasets/", key=key, data=fields, files=files))

    def list(self, *, search: str = "", limit: int | None = None, **filters: Any) -> list[Dataset]:
        """The newest first. `filters` as in the API: status, training_ready, format, ordering."""
        rows = every(self._transport, "/api/datasets/", limit, most=100, search=search or None, **filters)
        return [Dataset.of(row) for row in rows]

    def get(self, dataset_id: str) -> Dataset:
        return Dataset.of(self._transport.get(f"/api/datasets/{dataset_id}/"))

    def wait(self, dataset_id: str, *, timeout: float | None = None, every: float = 1.0) -> Dataset:
        """The dataset when its check has ended, passed or not. Raise StillWaiting after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while not (dataset := self.get(dataset_id)).is_checked:
            if end is not None and time.monotonic() >= end:
                raise StillWaiting(f"The check of “{dataset.name}” has not ended within {timeout:g} seconds.")
            self._pause(every)
        return dataset

    def delete(self, dataset_id: str) -> None:
        self._transport.request("DELETE", f"/api/datasets/{dataset_id}/")


class _Told:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress | None) -> None:
        self._file, self._size, self._progress = file, size, progress

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if self._progress is not None:
            self._progress(self._file.tell(), self._size)
        return data

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(1 << 16), b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
