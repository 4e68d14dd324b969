"""What was sent to one socket and not yet read by its page. ASGI does not tell how much waits in a connection.

The page acknowledges the newest number it has put in place for each job, every two seconds. Messages arrive in order,
so an acknowledged one proves that everything before it was read too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

WINDOW_BYTES = 256 * 1024  # with more than this unread, nothing further is sent
STUCK_SECONDS = 10.0  # so long without progress while nothing can be sent, and the socket is given up
SILENT_SECONDS = 30.0  # so long without an acknowledgement while one is due


@dataclass(frozen=True, slots=True)
class _Sent:
    job_id: UUID | None  # None for what has no number of its own: any acknowledgement confirms it
    seq: int
    size: int
    at: float


@dataclass(slots=True)
class Outbox:
    """Times are seconds of a monotonic clock."""

    unread_bytes: int = 0
    _sent: deque[_Sent] = field(default_factory=deque)
    _numbered: int = 0
    _heard_at: float = 0.0
    _progress_at: float = 0.0

    @property
    def has_room(self) -> bool:
        return self.unread_bytes <= WINDOW_BYTES

    def sent(self, size: int, now: float, job_id: UUID | None = None, seq: int = 0) -> None:
        if not self._sent:
            self._progress_at = now
        self._sent.append(_Sent(job_id, seq, size, now))
        self._numbered += job_id is not None
        self.unread_bytes += size

    def acknowledged(self, marks: Mapping[UUID, int], now: float) -> None:
        self._heard_at = now
        confirmed = 0
        for position, sent in enumerate(self._sent, start=1):
            if sent.job_id is not None and sent.seq <= marks.get(sent.job_id, -1):
                confirmed = position
        while self._sent and (confirmed > 0 or self._sent[0].job_id is None):
            sent = self._sent.popleft()
            confirmed -= 1
            self._numbered -= sent.job_id is not None
            self.unread_bytes -= sent.size
            self._progress_at = now

    def given_up(self, now: float) -> bool:
        """Whether the page has stopped reading, or cannot read as fast as things happen."""
        if not self.has_room and now - self._progress_at > STUCK_SECONDS:
            return True
        if not self._numbered:
            return False
        due_since = next(sent.at for sent in self._sent if sent.job_id is not None)
        return now - max(due_since, self._heard_at) > SILENT_SECONDS
