"""Long downloads: sent while they are read, in blocks, so that neither memory nor a database cursor is held."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model, Q, QuerySet
from django.http import StreamingHttpResponse
from django.utils.text import slugify
from rest_framework.request import Request

BLOCK = 2000


def download(
    request: Request, parts: Iterator[str], *, name: str, extension: str, content_type: str
) -> StreamingHttpResponse:
    """A file for the browser to keep. `name` may be any text; the file's name is made safe from it."""
    # Under ASGI, Django would gather a plain iterator in memory before it sends the first byte.
    content: Any = _threaded(parts) if isinstance(request._request, ASGIRequest) else parts
    return StreamingHttpResponse(
        content,
        content_type=content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{file_stem(name)}{extension}"',
            "Cache-Control": "no-store",
        },
    )


def csv_row(cells: Sequence[Any]) -> str:
    """One line of a CSV file. A spreadsheet must not take a text that somebody chose for a formula."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return line.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def json_list(items: Iterable[Any]) -> Iterator[str]:
    """A JSON array, an item a line. The items are serialized when their turn comes."""
    separator = "[\n"
    for item in items:
        yield separator + json.dumps(item)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def file_stem(name: str) -> str:
    """A file name without extension, safe in headers and on every disk."""
    return slugify(name)[:80] or "job"


def in_blocks(rows: QuerySet[Any], *keys: str) -> Iterator[Any]:
    """All rows ordered by `keys` (unique together), a block a query; rows added meanwhile at the end come too."""
    after: Q = Q()
    while block := list(rows.filter(after).order_by(*keys)[:BLOCK]):
        yield from block
        last: Model = block[-1]
        values = [getattr(last, key) for key in keys]
        after = Q()
        for position, key in enumerate(keys):
            equal = Q(**dict(zip(keys[:position], values[:position], strict=True)))
            after |= equal & Q(**{f"{key}__gt": values[position]})


async def _threaded(parts: Iterator[str]) -> AsyncIterator[str]:
    def gather() -> str:
        """About 64 kB at a time: a change of threads for each line would cost more than the lines."""
        gathered, size = [], 0
        for part in parts:
            gathered.append(part)
            size += len(part)
            if size >= 65536:
                break
        return "".join(gathered)

    while text := await sync_to_async(gather)():
        yield text
