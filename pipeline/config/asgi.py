"""The web application for any ASGI server: `daphne pipeline.config.asgi:application`."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")
os.environ.setdefault("STOKER_DATABASE_POOL", "10")


from channels.routing import ProtocolTypeRouter
from django.conf import settings
from django.core.asgi import get_asgi_application

from pipeline.config.static import StaticFiles

pages = get_asgi_application()  # loads the models, which what follows needs

application = ProtocolTypeRouter({"http": StaticFiles(pages, folder=settings.STATIC_ROOT, prefix=settings.STATIC_URL)})
