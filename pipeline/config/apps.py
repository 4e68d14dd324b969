from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_migrate


class HouseConfig(AppConfig):
    """Holds the checks and commands that belong to no part of the product."""

    name = "pipeline.config"
    label = "house"
    verbose_name = "Installation"

    def ready(self) -> None:
        import celery_app  # noqa: F401 - tasks bind to the configured app, whichever program loaded Django
        from pipeline.config import checks, trailing  # noqa: F401 - importing registers them

        # Django tells only apps with models when migrations have run; these are the models that are filled.
        post_migrate.connect(_seed_schedules, sender=apps.get_app_config("django_celery_beat"))
        if settings.STOKER_PLAYGROUND:
            from pipeline.config.playground_accounts import on_sign_in

            user_logged_in.connect(on_sign_in)


def _seed_schedules(using: str, **kwargs: Any) -> None:
    from pipeline.config.schedules import seed

    seed(using)
