"""The web application for any ASGI server: `daphne pipeline.config.asgi:application`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")
os.environ.setdefault("STOKER_DATABASE_POOL", "10")

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application

from pipeline.config.static import StaticFiles

pages = get_asgi_application()  # loads the models, which the routes of the sockets need

from pipeline.live.routing import websocket_urlpatterns

application = ProtocolTypeRouter(
    {
        "http": StaticFiles(pages, folder=settings.STATIC_ROOT, prefix=settings.STATIC_URL),
        # A browser sends the cookie from any site's page; only pages of our own hosts may use it here.
        "websocket": AllowedHostsOriginValidator(URLRouter(websocket_urlpatterns)),
    }
)
