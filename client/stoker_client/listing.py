from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stoker_client.transport import Transport


def every(transport: Transport, path: str, limit: int | None, *, most: int, **params: Any) -> Iterator[dict[str, Any]]:
    """The rows of a list, page after page, at most `limit` of them; `most` is the largest page the server gives."""
    size = most if limit is None else max(1, min(limit, most))
    page, given = 1, 0
    while limit is None or given < limit:
        answer = transport.get(path, page=page, page_size=size, **params)
        for row in answer["results"]:
            if limit is not None and given >= limit:
                return
            given += 1
            yield row
        if not answer["next"]:
            return
        page += 1
