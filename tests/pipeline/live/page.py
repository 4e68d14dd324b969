"""A page as the browser's script is: it follows frames, puts points in place by their step, and acknowledges."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, cast

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator
from django.conf import settings

from pipeline.live.routing import websocket_urlpatterns

application = AllowedHostsOriginValidator(URLRouter(cast(Any, websocket_urlpatterns)))


class View:
    """What frames of one job add up to. Notes whatever should never happen."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self.points: dict[int, dict[str, float]] = {}
        self.events: list[int] = []
        self.logs: list[tuple[int, int]] = []
        self.job: dict[str, Any] = {}
        self.gaps: list[tuple[int, int]] = []

    def take(self, frame: dict[str, Any]) -> None:
        if frame["after"] > self.seq:
            self.gaps.append((self.seq, frame["after"]))
        self.seq = frame["seq"]
        self.job = frame["job"]
        columns = frame["metrics"]
        for index, step in enumerate(columns["step"]):
            values = {name: column[index] for name, column in columns.items() if column[index] is not None}
            self.points.setdefault(step, {}).update(values)
        self.events += [event["seq"] for event in frame["events"]]
        self.logs += [(line["attempt"], line["n"]) for line in frame["logs"]]


def cookie_of(person: Any) -> str:
    cookie = person.browser.cookies.get(settings.SESSION_COOKIE_NAME) if person else None
    return f"{settings.SESSION_COOKIE_NAME}={cookie.value}" if cookie else ""


class Page:
    def __init__(self, person: Any, *, origin: str = "http://localhost", acknowledge: bool = True) -> None:
        headers = [(b"origin", origin.encode()), (b"host", b"localhost")]
        if cookie := cookie_of(person):
            headers.append((b"cookie", cookie.encode()))
        self.communicator = WebsocketCommunicator(application, "/ws/", headers)
        self.acknowledge = acknowledge
        self.accepted = False
        self.closed: int | None = None
        self.views: dict[str, View] = {}
        self.heard: list[dict[str, Any]] = []
        self._reader: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        self.accepted, _ = await self.communicator.connect(timeout=10)
        self._reader = asyncio.create_task(self._read())

    async def leave(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self.communicator.disconnect(timeout=5)

    async def _read(self) -> None:
        while self.closed is None:
            message = await self.communicator.output_queue.get()
            if message["type"] == "websocket.close":
                self.closed = message["code"]
                return
            frame = json.loads(message["text"])
            self.heard.append(frame)
            if frame["t"] == "job":
                self.views.setdefault(frame["id"], View(frame["after"])).take(frame)
                if self.acknowledge and frame["seq"] > frame["after"]:
                    await self.say({"ack": {frame["id"]: frame["seq"]}})

    async def say(self, message: Any) -> None:
        await self.communicator.send_to(text_data=message if isinstance(message, str) else json.dumps(message))

    async def follow(self, job: Any, after: int = 0) -> None:
        await self.say({"subscribe": "job", "id": str(job.pk), "after": after})

    async def hears(self, kind: str, check: Callable[[dict[str, Any]], Any] = lambda frame: True) -> dict[str, Any]:
        """The first frame of a kind that passes `check`, among those that came and those that come."""
        return await self.sees(
            lambda: next((f for f in self.heard if f["t"] == kind and check(f)), None), f"{kind} frame"
        )

    async def sees(self, predicate: Callable[[], Any], what: str, timeout: float = 10) -> Any:
        deadline = time.monotonic() + timeout
        while not (result := predicate()):
            assert time.monotonic() < deadline, f"Waited {timeout:g} s in vain for {what}; heard {self.heard[-3:]}"
            await asyncio.sleep(0.005)
        return result

    async def closes(self, timeout: float = 10) -> int:
        await self.sees(lambda: self.closed is not None, "the close", timeout)
        assert self.closed is not None
        return self.closed

    def view(self, job: Any) -> View:
        return self.views.setdefault(str(job.pk), View())
