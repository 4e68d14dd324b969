"""Who follows what is not a single job: a person's list of jobs, and the topics of other apps. Part of the tailer."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from pipeline.live import rounds
from pipeline.live.sockets import Socket

JOBS = "jobs"
LIST_GAP_SECONDS = 0.5
WHOLE_LIST_SECONDS = 5.0  # while hints arrive; each tick while they do not
TOPIC_SECONDS = 5.0


class TopicFeeds:
    def __init__(self) -> None:
        self._followers: dict[str, dict[int, set[Socket]]] = defaultdict(dict)
        self._versions: dict[int, dict[UUID, rounds.Version]] = {}  # what the list pages of a user show
        self._start_again: set[int] = set()  # users with a list page that needs everything current
        self._texts: dict[tuple[str, int], str] = {}  # the last frame of a topic
        self._hinted_jobs: set[UUID] = set()  # kept until a list round
        self._hinted_users: set[int] = set()
        self._lists_due = 0.0
        self._whole_lists_due = 0.0
        self._topics_due = 0.0

    def subscribe(self, socket: Socket, topic: str) -> None:
        socket.topics.add(topic)
        self._followers[topic].setdefault(socket.user.pk, set()).add(socket)
        self.resend(socket, topic)

    def unsubscribe(self, socket: Socket, topic: str) -> None:
        user_id = socket.user.pk
        socket.topics.discard(topic)
        followers = self._followers[topic].get(user_id, set())
        followers.discard(socket)
        if not followers:
            self._followers[topic].pop(user_id, None)
            self._texts.pop((topic, user_id), None)
            if topic == JOBS:
                self._versions.pop(user_id, None)

    def resend(self, socket: Socket, topic: str) -> None:
        """What the page has is not known: with the next round it gets everything current."""
        if topic == JOBS:
            self._start_again.add(socket.user.pk)
        else:
            self._texts.pop((topic, socket.user.pk), None)
            self._hinted_users.add(socket.user.pk)

    def job_hint(self, job_id: UUID) -> bool:
        """Whether anybody here may want to know."""
        if not self._followers[JOBS]:
            return False
        self._hinted_jobs.add(job_id)
        return True

    def user_hint(self, user_id: int) -> None:
        self._hinted_users.add(user_id)

    @property
    def due(self) -> float:
        """When a round is wanted because of a hint that came too soon after the last frame of a list."""
        return self._lists_due if self._hinted_jobs else float("inf")

    def plan(self, plan: rounds.Plan, now: float, *, tick: bool, hints_arrive: bool) -> None:
        users = self._followers[JOBS]
        start_again = self._start_again & users.keys()
        whole = bool(start_again) or now >= self._whole_lists_due or (tick and not hints_arrive)
        if users and (whole or self._hinted_jobs) and now >= self._lists_due:
            plan.lists = {u: None if u in start_again else self._versions.get(u) for u in users}
            plan.whole_lists = whole or None in plan.lists.values()
            plan.hinted, self._hinted_jobs = self._hinted_jobs, set()
            self._start_again = set()
            self._lists_due = now + LIST_GAP_SECONDS
            if plan.whole_lists:
                self._whole_lists_due = now + WHOLE_LIST_SECONDS
        hinted, self._hinted_users = self._hinted_users, set()
        everybody = tick and now >= self._topics_due
        if everybody:
            self._topics_due = now + TOPIC_SECONDS
        for topic, followers in self._followers.items():
            asked = set(followers) if everybody else hinted & followers.keys()
            if topic != JOBS and asked:
                plan.topics[topic] = asked

    def failed(self, plan: rounds.Plan) -> None:
        """The round found no answer: what it asked for is still wanted."""
        self._hinted_jobs |= plan.hinted
        self._start_again |= {user_id for user_id, known in plan.lists.items() if known is None}
        self._hinted_users |= {user_id for users in plan.topics.values() for user_id in users}

    def spread(self, outcome: rounds.Outcome) -> None:
        for user_id, news in outcome.lists.items():
            if user_id in self._followers[JOBS]:
                self._versions[user_id] = news.versions
                if news.text is not None:
                    self._send(JOBS, user_id, news.text)
        for (topic, user_id), text in outcome.topics.items():
            if user_id in self._followers[topic] and self._texts.get((topic, user_id)) != text:
                self._texts[topic, user_id] = text
                self._send(topic, user_id, text)

    def _send(self, topic: str, user_id: int, text: str) -> None:
        for socket in self._followers[topic].get(user_id, ()):
            if socket.has_room:  # what the others miss is sent again when they have room
                socket.send(text)
