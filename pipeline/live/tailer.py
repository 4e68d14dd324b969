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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError, connection

from pipeline.live import hints, rounds, sessions
from pipeline.live.frames import Frame

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
# Between rounds at least; longer when rounds take longer, so that a busy process still serves its other requests.
LEAST_GAP_SECONDS = 0.025
LIST_GAP_SECONDS = 0.5
HEAD_SECONDS = 5.0
WHOLE_LIST_SECONDS = 5.0  # while hints arrive; each tick while they do not
TOPIC_SECONDS = 5.0
SESSION_SECONDS = 60.0
LINGER_SECONDS = 5.0  # a page that is reloaded finds everything still running
MAX_REQUESTS = 100  # subscriptions granted in one round; the rest wait for the next one

T = TypeVar("T")

CLOSE_SIGN_IN = 4401
CLOSE_TOO_SLOW = 4408
CLOSE_DELETED = 4410

JOBS = "jobs"


class Socket(Protocol):
    """An open page, as the tailer sees it."""

    session_key: str
    user: AbstractBaseUser
    jobs: set[UUID]
    topics: set[str]

    @property
    def has_room(self) -> bool: ...
    @property
    def given_up(self) -> bool: ...
    def send(self, text: str, job_id: UUID | None = None, seq: int = 0) -> None: ...
    def close(self, code: int) -> None: ...


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
        self._topics: dict[str, dict[int, set[Socket]]] = defaultdict(dict)
        self._requests: list[_Request] = []
        self._dirty: set[UUID] = set()
        self._hinted: set[UUID] = set()  # for the lists; kept until a list round
        self._dirty_users: set[int] = set()
        self._list_versions: dict[int, dict[UUID, rounds.Version] | None] = {}
        self._topic_texts: dict[tuple[str, int], str] = {}
        self._hints_arrive = False
        self._wake = asyncio.Event()
        self._next: dict[str, float] = {}
        self._last_used = time.monotonic()
        self._database_works = True
        self._executor: ThreadPoolExecutor | None = None
        self._running: list[asyncio.Task[None]] = []

    # What consumers call

    async def identify(self, session_key: str | None) -> AbstractBaseUser | None:
        """The user of a session. Raises DatabaseError."""
        return await self._in_thread(lambda: sessions.identify(session_key))

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
        user_id = socket.user.pk
        socket.topics.add(topic)
        self._topics[topic].setdefault(user_id, set()).add(socket)
        self._resend(topic, user_id)
        self._dirty_users.add(user_id)
        self._wake.set()

    def unsubscribe(self, socket: Socket, topic: str) -> None:
        user_id = socket.user.pk
        socket.topics.discard(topic)
        followers = self._topics[topic].get(user_id, set())
        followers.discard(socket)
        if not followers:
            self._topics[topic].pop(user_id, None)
            self._resend(topic, user_id)

    def room_again(self, socket: Socket) -> None:
        """The page has read what was sent: whatever it has missed is due."""
        self._dirty.update(socket.jobs)
        for topic in socket.topics:
            self._resend(topic, socket.user.pk)
        self._wake.set()

    async def close(self) -> None:
        """End everything at once. A socket that joins later starts it again."""
        tasks, self._running = self._running, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._refuse_waiting()
        await self._release()

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
        tasks[1].cancel()
        self._refuse_waiting()
        await self._release()

    async def _until_due(self, not_before: float) -> None:
        """Wait for a reason to look, but at least until `not_before`."""
        due = self._next.get("tick", 0.0)
        if self._hinted:
            due = min(due, self._next.get("lists", 0.0))
        pause = due - time.monotonic()
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
                if self._topics[JOBS]:
                    self._hinted.add(job_id)
                    self._wake.set()
                if job_id in self._jobs:
                    self._look_again(job_id)
            elif kind == "user":
                self._dirty_users.add(int(name))
                self._wake.set()
        except ValueError:
            logger.warning("A hint that means nothing: %r", hint[:100])

    # One round

    async def _round(self, now: float) -> None:
        requests, self._requests = self._requests[:MAX_REQUESTS], self._requests[MAX_REQUESTS:]
        if self._requests:
            self._wake.set()
        due = {"tick"} if self._is_due("tick", now) else set()
        if due:
            due |= {name for name in ("head", "topics") if self._is_due(name, now)}
        plan = self._plan(requests, due, now)
        try:
            outcome = await self._in_thread(lambda: rounds.read(plan))
        except BaseException:
            self._requests = requests + self._requests
            self._dirty |= set(plan.jobs)
            self._hinted |= plan.hinted
            raise
        self._apply_sessions(outcome, now)
        self._spread(outcome)
        for request in requests:
            self._grant(request, outcome)
        for job_id in outcome.gone & self._jobs.keys():
            for socket in list(self._jobs[job_id].sockets):
                self._lose(socket, job_id)
        self._spread_topics(outcome)
        if "head" in due:
            self._send_heads()
        if "tick" in due:
            for socket in [socket for socket in self.sockets if socket.given_up]:
                socket.close(CLOSE_TOO_SLOW)
        for name, pause in (("tick", TICK_SECONDS), ("head", HEAD_SECONDS), ("topics", TOPIC_SECONDS)):
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
        self._plan_topics(plan, due, now)
        return plan

    def _plan_topics(self, plan: rounds.Plan, due: set[str], now: float) -> None:
        users = self._topics[JOBS]
        plan.lists = {user_id: self._list_versions.get(user_id) for user_id in users}
        plan.whole_lists = (
            None in plan.lists.values()
            or self._is_due("whole lists", now)
            or ("tick" in due and not self._hints_arrive)
        )
        if users and (plan.whole_lists or self._hinted) and self._is_due("lists", now):
            plan.hinted, self._hinted = self._hinted, set()
            self._next["lists"] = now + LIST_GAP_SECONDS
            if plan.whole_lists:
                self._next["whole lists"] = now + WHOLE_LIST_SECONDS
        else:
            plan.lists = {}
        dirty_users, self._dirty_users = self._dirty_users, set()
        for topic, followers in self._topics.items():
            asked = set(followers) if "topics" in due else dirty_users & followers.keys()
            if topic != JOBS and asked:
                plan.topics[topic] = asked

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

    def _spread_topics(self, outcome: rounds.Outcome) -> None:
        for user_id, news in outcome.lists.items():
            followers = self._topics[JOBS].get(user_id)
            if followers is None:
                continue
            self._list_versions[user_id] = news.versions
            if news.text is not None:
                self._send_all(JOBS, user_id, news.text)
        for (topic, user_id), text in outcome.topics.items():
            if user_id in self._topics[topic] and self._topic_texts.get((topic, user_id)) != text:
                self._topic_texts[topic, user_id] = text
                self._send_all(topic, user_id, text)

    def _send_all(self, topic: str, user_id: int, text: str) -> None:
        for socket in self._topics[topic].get(user_id, ()):
            if socket.has_room:  # what the others miss, `room_again` asks for
                socket.send(text)

    def _resend(self, topic: str, user_id: int) -> None:
        """Forget what the pages of a user have: they get everything current with the next round."""
        if topic == JOBS:
            self._list_versions.pop(user_id, None)
        else:
            self._topic_texts.pop((topic, user_id), None)

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

    # The thread that talks to the database

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in the one thread whose database connection stays open between rounds."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="live")
        return await asyncio.get_running_loop().run_in_executor(self._executor, _with_fresh_start, work)

    async def _release(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            # A function, because `connection.close` looked up here would be that of this thread's connection.
            await asyncio.get_running_loop().run_in_executor(executor, lambda: connection.close())
            executor.shutdown(wait=False)


def _with_fresh_start(work: Callable[[], T]) -> T:
    try:
        return work()
    except DatabaseError:
        connection.close()  # it may be the connection that broke
        raise


_tailers: WeakKeyDictionary[asyncio.AbstractEventLoop, Tailer] = WeakKeyDictionary()


def current() -> Tailer:
    """The tailer of this process; a server has one event loop, each test one of its own."""
    loop = asyncio.get_running_loop()
    if loop not in _tailers:
        _tailers[loop] = Tailer()
    return _tailers[loop]
