"""The view behind signed links to local files: GET with ranges, HEAD, and PUT of one announced object.

The token in the address is the whole permission: no session, no cookie, therefore no CSRF check either.
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import BinaryIO

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousFileOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.views.decorators.csrf import csrf_exempt

from datasets import storage
from datasets.problems import problem

BINARY = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@csrf_exempt
@login_not_required
def signed_file(request: HttpRequest, alias: str, token: str) -> HttpResponseBase:
    response = _answer(request, alias, token)
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response


def _answer(request: HttpRequest, alias: str, token: str) -> HttpResponseBase:
    method = request.method or "GET"
    verb = "GET" if method == "HEAD" else method
    if verb not in ("GET", "PUT"):
        response = problem(405, "method_not_allowed", "A signed link answers GET, HEAD or PUT only.")
        response["Allow"] = "GET, HEAD, PUT"
        return response
    try:
        link = storage.read_link(alias, token, verb)
    except storage.LinkExpired:
        return problem(403, "link_expired", "This link has expired. Ask for a new one.")
    except storage.LinkInvalid as error:
        return problem(403, "link_invalid", f"{error} Ask for a new one.")
    if not storage.is_local(alias):
        return problem(404, "not_found", "The files of this bucket are served by its own store.")
    try:
        return _receive(request, alias, link) if verb == "PUT" else _send(request, alias, link)
    except (FileNotFoundError, IsADirectoryError, SuspiciousFileOperation):
        return problem(404, "not_found", "The file is no longer there.")


def _send(request: HttpRequest, alias: str, link: storage.Link) -> HttpResponseBase:
    file = storage.local_path(alias, link.path).open("rb")
    stat = os.fstat(file.fileno())
    size, etag = stat.st_size, f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    wanted = request.headers.get("Range", "")
    if request.headers.get("If-Range", etag) != etag:
        wanted = ""
    part = _range(wanted, size)
    if part is None:
        file.close()
        refusal = problem(416, "range_not_satisfiable", f"The file has {size} bytes; the range lies outside.")
        refusal["Content-Range"] = f"bytes */{size}"
        return refusal
    start, length = part
    if request.method == "HEAD":
        file.close()
        response: HttpResponseBase = HttpResponse(content_type=BINARY)
    else:
        body = _Slice(file, start, length)
        content = _AsyncReader(body) if isinstance(request, ASGIRequest) else body
        response = StreamingHttpResponse(content, content_type=BINARY)
    if length != size:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    response["Content-Length"] = str(length)
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Content-Disposition"] = content_disposition_header(True, link.filename) or "attachment"
    return response


def _receive(request: HttpRequest, alias: str, link: storage.Link) -> HttpResponse:
    announced = request.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > link.max_bytes:
        return problem(413, "too_large", f"This link takes {link.max_bytes:,} bytes at most.")
    try:
        chunks = iter(lambda: request.read(storage.CHUNK), b"")
        stored = storage.save(alias, link.path, chunks, max_bytes=link.max_bytes, sha256=link.sha256)
    except storage.TooLarge:
        return problem(413, "too_large", f"This link takes {link.max_bytes:,} bytes at most.")
    except storage.WrongContent as error:
        return problem(422, "wrong_content", f"{error} Send the file again.")
    except storage.StorageFull:
        return problem(507, "storage_full", "The server's disk is full; nothing was stored. Try again later.")
    return JsonResponse({"size_bytes": stored.size_bytes, "sha256": stored.sha256})


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return (start, length); the whole file for no, a broken or a multiple range; None for one outside the file."""
    match = _RANGE.fullmatch(header.strip())
    if not match or match.groups() == ("", ""):
        return 0, size
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < int(first):
            return 0, size
    return (start, end - start + 1) if start < size and end >= start else None


class _Slice:
    """The bytes of one range, a chunk at a time. The response closes it, also when the client goes away."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._left = file, length
        file.seek(start)

    def __iter__(self) -> _Slice:
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(min(storage.CHUNK, self._left)) if self._left else b""
        if not chunk:
            raise StopIteration
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


class _AsyncReader:
    """Reads a slice in a thread: under ASGI Django would collect a plain iterator in memory before it sends a byte."""

    def __init__(self, body: _Slice) -> None:
        self._body = body
        self.close = body.close

    def __aiter__(self) -> _AsyncReader:
        return self

    async def __anext__(self) -> bytes:
        chunk = await asyncio.to_thread(next, self._body, b"")
        if not chunk:
            raise StopAsyncIteration
        return chunk
