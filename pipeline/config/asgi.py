"""The web application for any ASGI server: `daphne pipeline.config.asgi:application`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")
os.environ.setdefault("STOKER_DATABASE_POOL", "10")

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

pages = get_asgi_application()

application = ProtocolTypeRouter({"http": pages})
