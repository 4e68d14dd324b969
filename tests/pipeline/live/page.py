"""A page as the browser's script is: it follows frames, puts points in place by their step, and acknowledges."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.testing import WebsocketCommunicator
from django.conf import settings

from pipeline.live.routing import websocket_urlpatterns
from tests.waiting import until

T = TypeVar("T")

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


class Browser:
    """An event loop in a thread of its own, as a server has one; the test itself stays free to use the database."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Page:
    def __init__(
        self, browser: Browser, person: Any, *, origin: str = "http://localhost", acknowledge: bool = True
    ) -> None:
        headers = [(b"origin", origin.encode()), (b"host", b"localhost")]
        if cookie := cookie_of(person):
            headers.append((b"cookie", cookie.encode()))
        self.acknowledge = acknowledge
        self.closed: int | None = None
        self.views: dict[str, View] = {}
        self.heard: list[dict[str, Any]] = []
        self._browser = browser
        self._reader: asyncio.Task[None] | None = None
        self.accepted = browser.run(self._connect(headers))

    async def _connect(self, headers: list[tuple[bytes, bytes]]) -> bool:
        self._communicator = WebsocketCommunicator(application, "/ws/", headers)
        accepted, _ = await self._communicator.connect(timeout=10)
        self._reader = asyncio.create_task(self._read())
        return accepted

    def leave(self) -> None:
        if self._reader is not None:
            self._browser.run(self._leave(self._reader))
            self._reader = None

    async def _leave(self, reader: asyncio.Task[None]) -> None:
        reader.cancel()
        await self._communicator.disconnect(timeout=5)

    async def _read(self) -> None:
        while self.closed is None:
            message = await self._communicator.output_queue.get()
            if message["type"] == "websocket.close":
                self.closed = message["code"]
                return
            frame = json.loads(message["text"])
            if frame["t"] == "job":
                self.views.setdefault(frame["id"], View(frame["after"])).take(frame)
            if self.acknowledge:
                marks = {frame["id"]: frame["seq"]} if frame["t"] == "job" else {}
                await self._say(json.dumps({"ack": marks}))
            self.heard.append(frame)

    async def _say(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self._communicator.send_to(bytes_data=message)
        else:
            await self._communicator.send_to(text_data=message)

    def say(self, message: Any) -> None:
        self._browser.run(self._say(message if isinstance(message, str | bytes) else json.dumps(message)))

    def follow(self, job: Any, after: int = 0) -> None:
        self.say({"subscribe": "job", "id": str(job.pk), "after": after})

    def hears(self, kind: str, check: Callable[[dict[str, Any]], Any] = lambda frame: True) -> dict[str, Any]:
        """The first frame of a kind that passes `check`, among those that came and those that come."""
        return self.sees(lambda: next((f for f in self.heard if f["t"] == kind and check(f)), None), f"{kind} frame")

    def sees(self, predicate: Callable[[], Any], what: str, timeout: float = 10) -> Any:
        try:
            return until(predicate, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error} Heard last: {self.heard[-3:]}") from None

    def closes(self, timeout: float = 10) -> int:
        self.sees(lambda: self.closed is not None, "the close", timeout)
        assert self.closed is not None
        return self.closed

    def view(self, job: Any) -> View:
        return self.views.setdefault(str(job.pk), View())


def points(first: int, last: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 1 / (step + 1)} for step in range(first, last + 1)]
