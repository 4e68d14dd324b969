"""Where the websockets are. To be wrapped in Channels' AllowedHostsOriginValidator: the session cookie alone does not
tell our pages from other sites' pages. No AuthMiddlewareStack: the socket reads its session itself.
"""

from __future__ import annotations

from typing import Any, cast

from django.urls import path

from pipeline.live.consumers import live_socket

websocket_urlpatterns = [path("ws/", cast(Any, live_socket), name="live-socket")]
