"""Where the websockets are. To be wrapped in Channels' AllowedHostsOriginValidator: the session cookie alone does not
tell our pages from other sites' pages. No AuthMiddlewareStack: the socket reads its session itself.
"""

from __future__ import annotations

from typing import Any, cast

from django.urls import path, re_path

from pipeline.live.consumers import Message, Receive, Send, live_socket


async def nowhere(scope: Message, receive: Receive, send: Send) -> None:
    """Refuse a socket at an address that is none. Without it the router raises, and a scan fills the log."""
    await receive()
    await send({"type": "websocket.close"})


websocket_urlpatterns = [
    path("ws/", cast(Any, live_socket), name="live-socket"),
    re_path("", cast(Any, nowhere)),
]
