"""The websocket of the pages: what a page says, and the way a frame takes to it.

Page to server, one JSON object a message:
  {"subscribe": "job", "id": "<uuid>", "after": <seq>}   {"unsubscribe": "job", "id": "<uuid>"}
  {"subscribe": "jobs"}   {"subscribe": "notifications"}   and "unsubscribe" likewise
  {"ack": {"<job id>": <seq>, ...}}   every two seconds, with the newest numbers put in place; {"ack": {}} counts too
Server to page: frames {"t": "job" | "head" | "jobs" | "notifications" | "error", ...}; see docs/live.md.

A plain ASGI application instead of Channels' consumer class, which goes through a thread for each message it receives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import UUID

import msgspec
from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError

from pipeline.live import rounds, tailer, topics
from pipeline.live.outbox import Outbox
from pipeline.live.sessions import session_key_of
from pipeline.live.sockets import CLOSE_NEVER_RETRY, CLOSE_RESTARTING, CLOSE_SIGN_IN, CLOSE_TOO_SLOW, CLOSE_TRY_LATER
from pipeline.live.topic_feeds import JOBS

logger = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 16_384
MAX_JOBS = 64
MAX_SEQ = 2**63 - 1
MAX_MISTAKES = 50  # in the life of a socket; a page makes none

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Mistake(Exception):
    """The page said something that cannot be done. The message is a sentence for whoever wrote the page."""

    def __init__(self, message: str, code: str = "malformed", **extra: str):
        super().__init__(message)
        self.code = code
        self.extra = extra


async def live_socket(scope: Message, receive: Receive, send: Send) -> None:
    """The ASGI application behind /ws/."""
    await receive()  # websocket.connect
    # A refusal before the acceptance reaches a browser as 1006 without a reason, so every close comes after it.
    await send({"type": "websocket.accept"})
    session_key = session_key_of(scope["headers"])
    live = tailer.current()
    try:
        user = await live.identify(session_key)
    except DatabaseError:
        await send({"type": "websocket.close", "code": CLOSE_TRY_LATER, "reason": "The database does not answer."})
        return
    if user is None or session_key is None:
        await send({"type": "websocket.close", "code": CLOSE_SIGN_IN, "reason": "Sign in again."})
        return
    socket = LiveSocket(live, send, session_key, user)
    live.join(socket)
    try:
        while not socket.closed and (message := await receive())["type"] == "websocket.receive":
            await socket.receive(message)
    except asyncio.CancelledError:
        socket.close(CLOSE_RESTARTING)
        await socket.drained()
        raise
    finally:
        live.leave(socket)
        await socket.end()


class LiveSocket:
    """One open page. See sockets.Socket for what the tailer needs of it."""

    def __init__(self, live: tailer.Tailer, send: Send, session_key: str, user: AbstractBaseUser) -> None:
        self.session_key = session_key
        self.user = user
        self.jobs: set[UUID] = set()
        self.topics: set[str] = set()
        self.closed = False
        self._live = live
        self._asgi_send = send
        self._outbox = Outbox()
        self._waiting: deque[Message] = deque()  # bounded by the outbox's window
        self._sender: asyncio.Task[None] | None = None
        self._mistakes = 0

    # From the tailer

    @property
    def has_room(self) -> bool:
        return not self.closed and self._outbox.has_room

    @property
    def given_up(self) -> bool:
        return self._outbox.given_up(time.monotonic())

    def send(self, text: str, job_id: UUID | None = None, seq: int = 0) -> None:
        if self.closed:
            return
        self._outbox.sent(len(text), time.monotonic(), job_id, seq)
        self._put({"type": "websocket.send", "text": text})

    def close(self, code: int) -> None:
        if self.closed:
            return
        self.closed = True
        if code == CLOSE_TOO_SLOW:
            self._waiting.clear()  # they would only be in the way of the close
        self._put({"type": "websocket.close", "code": code})
        self._live.leave(self)

    def _put(self, message: Message) -> None:
        self._waiting.append(message)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        """One task a socket at most: a server with back-pressure holds up this page's task and nobody else's."""
        try:
            while self._waiting:
                await self._asgi_send(self._waiting.popleft())
        except (OSError, RuntimeError):  # the page has gone; `receive` says so too
            self.closed = True
            self._waiting.clear()

    async def drained(self) -> None:
        if self._sender is not None:
            await asyncio.wait([self._sender], timeout=1)

    async def end(self) -> None:
        """Nothing may be left behind; a close that was sent for is given a moment to go out."""
        await self.drained()
        self.closed = True
        if self._sender is not None:
            self._sender.cancel()

    # From the page

    async def receive(self, message: Message) -> None:
        """Do what the page asks; what makes no sense is answered with an error frame."""
        try:
            await self._do(_decode(message.get("text")))
        except Mistake as mistake:
            self._mistakes += mistake.code != "not_found"
            if self._mistakes > MAX_MISTAKES:
                self.close(CLOSE_NEVER_RETRY)
                return
            self.send(rounds.encode({"t": "error", "code": mistake.code, "message": str(mistake)} | mistake.extra))

    async def _do(self, said: dict[str, Any]) -> None:
        if "ack" in said:
            self._acknowledge(said["ack"])
        elif "subscribe" in said:
            await self._subscribe(said["subscribe"], said)
        elif "unsubscribe" in said:
            self._unsubscribe(said["unsubscribe"], said)
        else:
            raise Mistake("Send one of “subscribe”, “unsubscribe” and “ack”.")

    def _acknowledge(self, marks: Any) -> None:
        if not isinstance(marks, dict):
            raise Mistake("“ack” is an object: job id to the newest number that is in place.")
        had_room = self._outbox.has_room
        self._outbox.acknowledged({_job_id(key): _seq(value, "ack") for key, value in marks.items()}, time.monotonic())
        if not had_room and self._outbox.has_room:
            self._live.room_again(self)

    async def _subscribe(self, topic: Any, said: dict[str, Any]) -> None:
        if topic == "job":
            job_id, after = _job_id(said.get("id")), _seq(said.get("after", 0), "after")
            if job_id not in self.jobs and len(self.jobs) >= MAX_JOBS:
                raise Mistake(f"A socket follows at most {MAX_JOBS} jobs. Unsubscribe from one first.", "too_many")
            if not await self._live.follow(self, job_id, after):
                self._live.unfollow(self, job_id)
                raise Mistake("There is no such job.", "not_found", id=str(job_id))
        else:
            self._live.subscribe(self, _topic(topic))

    def _unsubscribe(self, topic: Any, said: dict[str, Any]) -> None:
        if topic == "job":
            self._live.unfollow(self, _job_id(said.get("id")))
        else:
            self._live.unsubscribe(self, _topic(topic))


def _decode(text: Any) -> dict[str, Any]:
    if not isinstance(text, str):
        raise Mistake("Messages are JSON text, not bytes.")
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise Mistake(f"A message has at most {MAX_MESSAGE_CHARACTERS} characters.", "too_large")
    try:
        said = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise Mistake("This is not JSON.") from None
    if not isinstance(said, dict):
        raise Mistake("A message is a JSON object.")
    return said


def _topic(topic: Any) -> str:
    if isinstance(topic, str) and (topic == JOBS or topics.registered(topic)):
        return topic
    raise Mistake("This topic is not known. There are “job” with an id, “jobs” and “notifications”.")


def _job_id(value: Any) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise Mistake("The id of a job is a UUID.") from None


def _seq(value: Any, name: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEQ:
        return value
    raise Mistake(f"“{name}” takes whole numbers from 0 up.")
