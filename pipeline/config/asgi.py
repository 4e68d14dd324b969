"""The web application for any ASGI server: `daphne pipeline.config.asgi:application`."""

from __future__ import annotations

import asyncio
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")
os.environ.setdefault("STOKER_DATABASE_POOL", "10")

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application

from pipeline.config.static import StaticFiles


def to_its_end(application: Any) -> Any:
    """Let a request run to its end when the server gives it up, as servers do some time after the browser has left.

    Django returns a database connection to the pool when a request is over; one that is cut off keeps it for ever.
    """
    running: set[asyncio.Task[None]] = set()

    async def patient(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.ensure_future(application(scope, receive, send))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.shield(task)

    return patient


pages = to_its_end(get_asgi_application())  # loads the models, which the routes of the sockets need

from pipeline.live.routing import websocket_urlpatterns

application = ProtocolTypeRouter(
    {
        "http": StaticFiles(pages, folder=settings.STATIC_ROOT, prefix=settings.STATIC_URL),
        # A browser sends the cookie from any site's page; only pages of our own hosts may use it here.
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
