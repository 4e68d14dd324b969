"""One reader of the database for all open pages of a web process.

Sockets say what they follow and how far they have read. A round asks the database once for everything that moved, makes
each frame once, and hands it to every socket that stands at the same number. A round starts at a hint, and each second
anyway, so that a lost hint, or a Redis that is off, costs a second. Its cost does not grow with the number of sockets.

Nothing is queued for a socket that does not keep up: it stays at its number, and when it has read what it was sent, it
gets one frame with all it has missed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from weakref import WeakKeyDictionary

from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError

from pipeline.live import hints, rounds, sessions
from pipeline.live.database import DatabaseThread
from pipeline.live.frames import Frame
from pipeline.live.sockets import CLOSE_DELETED, CLOSE_SIGN_IN, CLOSE_TOO_SLOW, Socket
from pipeline.live.topic_feeds import TopicFeeds

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
# Between rounds at least; longer when rounds take longer, so that a busy process still serves its other requests.
LEAST_GAP_SECONDS = 0.025
HEAD_SECONDS = 5.0
SESSION_SECONDS = 60.0
LINGER_SECONDS = 5.0  # a page that is reloaded finds everything still running
MAX_REQUESTS = 100  # subscriptions granted in one round; the rest wait for the next one


@dataclass(slots=True, eq=False)
class _Job:
    """A job that is followed here, and how far each socket has been sent."""

    seq: int
    updated_at: datetime | None
    active: bool
    sockets: dict[Socket, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Request:
    socket: Socket
    follow: rounds.Follow
    granted: asyncio.Future[bool]


class Tailer:
    def __init__(self) -> None:
        self.sockets: dict[Socket, float] = {}  # -> when its session is checked again
        self._jobs: dict[UUID, _Job] = {}
        self._topics = TopicFeeds()
        self._requests: list[_Request] = []
        self._dirty: set[UUID] = set()
        self._hints_arrive = False
        self._wake = asyncio.Event()
        self._next: dict[str, float] = {}
        self._last_used = time.monotonic()
        self._database_works = True
        self._database = DatabaseThread()
        self._running: list[asyncio.Task[None]] = []

    # What consumers call

    async def identify(self, session_key: str | None) -> AbstractBaseUser | None:
        """The user of a session. Raises DatabaseError."""
        return await self._database.run(lambda: sessions.identify(session_key))

    def join(self, socket: Socket) -> None:
        self.sockets[socket] = time.monotonic() + SESSION_SECONDS
        if not self._running:
            self._next = {"head": time.monotonic() + HEAD_SECONDS}
            self._running = [asyncio.create_task(self._run()), asyncio.create_task(self._listen())]

    def leave(self, socket: Socket) -> None:
        if self.sockets.pop(socket, None) is None:
            return
        for job_id in list(socket.jobs):
            self.unfollow(socket, job_id)
        for topic in list(socket.topics):
            self.unsubscribe(socket, topic)
        self._last_used = time.monotonic()

    async def follow(self, socket: Socket, job_id: UUID, after: int) -> bool:
        """Send `socket` everything of the job after `after`, and go on. False when its user may not see such a job."""
        request = _Request(
            socket, rounds.Follow(socket.user, job_id, after), asyncio.get_running_loop().create_future()
        )
        self._requests.append(request)
        self._wake.set()
        return await request.granted

    def unfollow(self, socket: Socket, job_id: UUID) -> None:
        socket.jobs.discard(job_id)
        if (job := self._jobs.get(job_id)) is not None:
            job.sockets.pop(socket, None)
            if not job.sockets:
                del self._jobs[job_id]

    def subscribe(self, socket: Socket, topic: str) -> None:
        """Send `socket` the frames of a topic of its user: "jobs", or one of pipeline.live.topics."""
        self._topics.subscribe(socket, topic)
        self._wake.set()

    def unsubscribe(self, socket: Socket, topic: str) -> None:
        self._topics.unsubscribe(socket, topic)

    def room_again(self, socket: Socket) -> None:
        """The page has read what was sent: whatever it has missed is due."""
        self._dirty.update(socket.jobs)
        for topic in socket.topics:
            self._topics.resend(socket, topic)
        self._wake.set()

    async def close(self) -> None:
        """End everything at once. A socket that joins later starts it again."""
        tasks, self._running = self._running, []
        for task in tasks:
            await _end(task)
        self._refuse_waiting()
        await self._database.close()

    # The loop

    async def _run(self) -> None:
        ended = 0.0
        lasted = 0.0
        while self.sockets or time.monotonic() - self._last_used < LINGER_SECONDS:
            await self._until_due(ended + max(LEAST_GAP_SECONDS, lasted))
            started = time.monotonic()
            try:
                await self._round(started)
                if not self._database_works:
                    logger.info("The database answers again; open pages go on.")
                self._database_works = True
            except DatabaseError as error:
                if self._database_works:
                    logger.warning("Open pages stand still, the database does not answer: %s", error)
                self._database_works = False
                await asyncio.sleep(TICK_SECONDS)
            except Exception:  # whatever one round stumbles over, the open pages need the next one
                logger.exception("A round for the open pages failed.")
                await asyncio.sleep(TICK_SECONDS)
            ended = time.monotonic()
            lasted = ended - started
        # In this order: a socket that joins from here on starts the tailer again.
        tasks, self._running = self._running, []
        self._refuse_waiting()
        await _end(tasks[1])
        await self._database.close()

    async def _until_due(self, not_before: float) -> None:
        """Wait for a reason to look, but at least until `not_before`."""
        pause = min(self._next.get("tick", 0.0), self._topics.due) - time.monotonic()
        if pause > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)
        rest = not_before - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        self._wake.clear()

    async def _listen(self) -> None:
        while True:
            try:
                await hints.listen(self._hint, self._connected)
            except Exception:  # without hints the pages are a second late, without an end they are
                logger.exception("Listening for hints failed.")
                await asyncio.sleep(TICK_SECONDS)

    def _connected(self, works: bool) -> None:
        self._hints_arrive = works

    def _hint(self, hint: str) -> None:
        kind, _, name = hint.partition(":")
        try:
            if kind == "job":
                job_id = UUID(name)
                if self._topics.job_hint(job_id):
                    self._wake.set()
                if job_id in self._jobs:
                    self._look_again(job_id)
            elif kind == "user":
                self._topics.user_hint(int(name))
                self._wake.set()
        except ValueError:
            logger.warning("A hint that means nothing: %r", hint[:100])

    # One round

    async def _round(self, now: float) -> None:
        requests, self._requests = self._requests[:MAX_REQUESTS], self._requests[MAX_REQUESTS:]
        if self._requests:
            self._wake.set()
        due = {"tick"} if self._is_due("tick", now) else set()
        if due and self._is_due("head", now):
            due.add("head")
        plan = self._plan(requests, due, now)
        try:
            outcome = await self._database.run(lambda: rounds.read(plan))
        except BaseException:
            self._requests = requests + self._requests
            self._dirty |= set(plan.jobs)
            self._topics.failed(plan)
            raise
        self._apply_sessions(outcome, now)
        self._spread(outcome)
        for request in requests:
            self._grant(request, outcome)
        for job_id in outcome.gone & self._jobs.keys():
            for socket in list(self._jobs[job_id].sockets):
                self._lose(socket, job_id)
        self._topics.spread(outcome)
        if "head" in due:
            self._send_heads()
        if "tick" in due:
            for socket in [socket for socket in self.sockets if socket.given_up]:
                socket.close(CLOSE_TOO_SLOW)
        for name, pause in (("tick", TICK_SECONDS), ("head", HEAD_SECONDS)):
            if name in due:
                self._next[name] = now + pause

    def _is_due(self, name: str, now: float) -> bool:
        return now >= self._next.get(name, 0.0)

    def _plan(self, requests: list[_Request], due: set[str], now: float) -> rounds.Plan:
        plan = rounds.Plan(follows=[request.follow for request in requests if request.socket in self.sockets])
        if "tick" in due:
            for socket, when in self.sockets.items():
                if now >= when:
                    plan.sessions.setdefault(socket.session_key, set()).update(socket.jobs)
        dirty, self._dirty = self._dirty, set()
        for job_id in self._jobs if "tick" in due else dirty & self._jobs.keys():
            job = self._jobs[job_id]
            afters = {after for socket, after in job.sockets.items() if socket.has_room}
            # Between changes the cost and the last sign of life move on: an active job is shown anew now and then.
            updated_at = None if "head" in due and job.active else job.updated_at
            plan.jobs[job_id] = rounds.Known(
                job.seq, updated_at, afters, [after for after in afters if after < job.seq]
            )
        self._topics.plan(plan, now, tick="tick" in due, hints_arrive=self._hints_arrive)
        return plan

    def _grant(self, request: _Request, outcome: rounds.Outcome) -> None:
        socket, follow = request.socket, request.follow
        granted = (follow.user.pk, follow.job_id) in outcome.granted and socket in self.sockets
        made = outcome.frames.get((follow.job_id, follow.after))
        if granted and made is not None:
            frame, text = made
            socket.jobs.add(follow.job_id)
            job = self._jobs.setdefault(follow.job_id, _Job(frame.head, frame.updated_at, frame.active))
            job.sockets[socket] = frame.seq
            self._send_frame(socket, frame, text)
            if frame.more:
                self._look_again(follow.job_id)
        if not request.granted.done():
            request.granted.set_result(granted and made is not None)

    def _refuse_waiting(self) -> None:
        requests, self._requests = self._requests, []
        for request in requests:
            if not request.granted.done():
                request.granted.set_result(False)

    def _spread(self, outcome: rounds.Outcome) -> None:
        """Hand each frame to the sockets that stand where it begins."""
        by_job: dict[UUID, dict[int, tuple[Frame, str]]] = defaultdict(dict)
        for window, made in outcome.frames.items():
            if made[0].carries_rows or window not in outcome.only_asked:
                by_job[window[0]][window[1]] = made
        for job_id, frames in by_job.items():
            job = self._jobs.get(job_id)
            if job is None:
                continue
            newest = max((frame for frame, _ in frames.values()), key=lambda frame: frame.head)
            job.seq, job.updated_at, job.active = newest.head, newest.updated_at, newest.active
            for socket, after in list(job.sockets.items()):
                if after in frames and socket.has_room:
                    frame, text = frames[after]
                    job.sockets[socket] = frame.seq
                    self._send_frame(socket, frame, text)
            if any(after < job.seq and socket.has_room for socket, after in job.sockets.items()):
                self._look_again(job_id)
        for job_id in outcome.postponed:
            self._look_again(job_id)

    def _look_again(self, job_id: UUID) -> None:
        self._dirty.add(job_id)
        self._wake.set()

    @staticmethod
    def _send_frame(socket: Socket, frame: Frame, text: str) -> None:
        # A frame without rows repeats a number the page may have acknowledged long ago, so it needs none.
        if frame.carries_rows:
            socket.send(text, frame.job_id, frame.seq)
        else:
            socket.send(text)

    def _send_heads(self) -> None:
        for job_id, job in self._jobs.items():
            text = rounds.encode({"t": "head", "id": str(job_id), "seq": job.seq})
            for socket in job.sockets:
                if socket.has_room:
                    socket.send(text)

    def _apply_sessions(self, outcome: rounds.Outcome, now: float) -> None:
        if not outcome.sessions:
            return
        for socket in list(self.sockets):
            if socket.session_key not in outcome.sessions or now < self.sockets[socket]:
                continue
            self.sockets[socket] = now + SESSION_SECONDS
            answer = outcome.sessions[socket.session_key]
            if answer is None or answer[0] != socket.user.pk:
                socket.close(CLOSE_SIGN_IN)
                continue
            for job_id in socket.jobs - answer[1]:
                self._lose(socket, job_id)

    def _lose(self, socket: Socket, job_id: UUID) -> None:
        """The job was deleted, or is no longer its user's: which of the two is nobody's business."""
        self.unfollow(socket, job_id)
        message = "This job does not exist any more."
        socket.send(rounds.encode({"t": "error", "code": "not_found", "id": str(job_id), "message": message}))
        if not socket.jobs:
            socket.close(CLOSE_DELETED)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it has ended: a cancellation can get lost inside a library that waits with a timeout."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


_tailers: WeakKeyDictionary[asyncio.AbstractEventLoop, Tailer] = WeakKeyDictionary()


def current() -> Tailer:
    """The tailer of this process; a server has one event loop, each test one of its own."""
    loop = asyncio.get_running_loop()
    if loop not in _tailers:
        _tailers[loop] = Tailer()
    return _tailers[loop]
