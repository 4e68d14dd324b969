"""What the reader and an open page agree on."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser

CLOSE_SIGN_IN = 4401
CLOSE_NEVER_RETRY = 4403
CLOSE_TOO_SLOW = 4408
CLOSE_DELETED = 4410
CLOSE_RESTARTING = 1012
CLOSE_TRY_LATER = 1013


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
