"""The one thread of a web process in which its sockets' questions are put to the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import DatabaseError, connection

T = TypeVar("T")


class DatabaseThread:
    """Runs one piece of work after the other; its connection stays open between them.

    Channels' `database_sync_to_async` would share its single thread with everybody, and close the connection each time.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    @property
    def is_open(self) -> bool:
        return self._executor is not None

    async def run(self, work: Callable[[], T]) -> T:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="live")
        return await asyncio.get_running_loop().run_in_executor(self._executor, _attempt, work)

    async def close(self) -> None:
        """After the work under way. Whoever has work later opens it again."""
        executor, self._executor = self._executor, None
        if executor is not None:
            # A function, because `connection.close` looked up here would be that of this thread's connection.
            await asyncio.get_running_loop().run_in_executor(executor, lambda: connection.close())
            executor.shutdown(wait=False)


def _attempt(work: Callable[[], T]) -> T:
    try:
        return work()
    except DatabaseError:
        connection.close()  # it may be the connection that broke
        raise
