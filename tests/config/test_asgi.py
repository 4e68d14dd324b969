from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pipeline.config.asgi import to_its_end


async def test_a_request_the_server_gives_up_still_runs_to_its_end() -> None:
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def page(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await may_end.wait()
        ended.set()

    request = asyncio.ensure_future(to_its_end(page)({}, None, None))
    await begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert not ended.is_set()
    may_end.set()
    await asyncio.wait_for(ended.wait(), 5)
