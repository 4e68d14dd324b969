"""The Celery application: `celery -A celery_app worker`, `celery -A celery_app beat`."""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pipeline.config.settings")

# Celery warns root because pickled messages could run code; ours are JSON, and other content is refused.
warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")

app = Celery("stoker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def use_our_logging(**kwargs: Any) -> None:
    """Being connected is all: Celery then leaves the log handlers of settings.LOGGING alone."""
