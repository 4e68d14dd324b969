"""Serves the collected static files in front of Django: no middleware, no session, and never a blocked event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from whitenoise import WhiteNoise

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[..., Awaitable[None]]

CHUNK = 256 * 1024


class StaticFiles:
    """An ASGI application: files of `folder` below `prefix`, everything else from `application`.

    WhiteNoise finds the file and decides on compression, ranges and "not modified"; every file may be kept by browsers
    for ever, since `prefix` changes with the content.
    """

    def __init__(self, application: Application, *, folder: Path, prefix: str) -> None:
        self.application = application
        self.prefix = prefix
        self.files = WhiteNoise(None, immutable_file_test=lambda path, url: True, allow_all_origins=False)
        if folder.is_dir():
            self.files.add_files(str(folder), prefix=prefix)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            return await self.application(scope, receive, send)
        file = self.files.files.get(scope["path"])
        if file is None or scope["method"] not in ("GET", "HEAD"):
            status = 404 if file is None else 405
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            return await send({"type": "http.response.body"})
        # WhiteNoise reads request headers as CGI does.
        environ = {f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
                   for name, value in scope["headers"]}  # fmt: skip
        response = await asyncio.to_thread(file.get_response, scope["method"], environ)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
        headers.append((b"x-content-type-options", b"nosniff"))
        await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
        if response.file is not None:
            with response.file as opened:
                while chunk := await asyncio.to_thread(opened.read, CHUNK):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})
