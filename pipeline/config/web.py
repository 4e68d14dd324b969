"""Daphne, with bodies that do not pass through memory: `python -m pipeline.config.web` takes Daphne's own arguments.

Daphne puts the whole of a request's body into the application's queue, and writes a response as fast as the application
gives it, however slowly the client reads; Twisted before it takes each form apart in memory, at ten times its size. An
upload of 500 MB would cost 5 GB, a download 500 MB. Here the application reads the body from the temporary file that
Twisted has written, and waits when the client's connection is full.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import daphne.server
from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server

CHUNK = 1 << 16
KEY = "stoker.exchange"

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


class Exchange:
    """One request and its response. Twisted calls the `...Producing` methods as the connection fills and drains."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._body = request.content
        self._registered = False
        self._drained = asyncio.Event()
        self._drained.set()
        request.content = io.BytesIO()  # what Daphne will put into the queue

    async def receive(self, receive: Receive) -> Message:
        if self._body is None:
            return await receive()
        if self._body.tell() == 0:
            first = await receive()  # the empty body that stands for ours, or the news that the client went away
            if first["type"] != "http.request":
                return first
        else:
            await asyncio.sleep(0)  # other connections are served between two chunks
        chunk = self._body.read(CHUNK)
        if len(chunk) < CHUNK:
            self.close()
        return {"type": "http.request", "body": chunk, "more_body": len(chunk) == CHUNK}

    async def send(self, message: Message, send: Send) -> None:
        if message["type"] == "http.response.body":
            await self._drained.wait()
            self._follow(bool(message.get("more_body")))
        await send(message)

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def pauseProducing(self) -> None:  # noqa: N802
        self._drained.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._drained.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._drained.set()

    def _follow(self, more: bool) -> None:
        """Hear about the state of the connection from the first part of a response until before its last."""
        if self._request.channel is None or more == self._registered:
            return
        if more:
            self._request.registerProducer(self, True)
        else:
            self._request.unregisterProducer()
        self._registered = more


class Factory(HTTPFactory):
    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = partial(WebRequest, parsePOSTFormSubmission=False)
        return protocol


class StreamingServer(Server):
    def __init__(self, application: Application, *args: Any, **kwargs: Any) -> None:
        super().__init__(_bounded(application), *args, **kwargs)

    def run(self) -> None:
        daphne.server.HTTPFactory = Factory  # the name by which `run` finds its factory
        super().run()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "http":
            scope[KEY] = Exchange(protocol)
        return super().create_application(protocol, scope)


class CommandLine(CommandLineInterface):
    server_class = StreamingServer


def _bounded(application: Application) -> Application:
    async def bounded(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        exchange: Exchange | None = scope.pop(KEY, None)
        if exchange is None:
            await application(scope, receive, send)
            return
        try:
            await application(scope, lambda: exchange.receive(receive), lambda message: exchange.send(message, send))
        finally:
            exchange.close()

    return bounded


if __name__ == "__main__":
    CommandLine.entrypoint()
