"""System checks: what is wrong with this installation, each with an id and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's names

from pipeline.config.content import missing_vendor_packages

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def is_public() -> bool:
    """Whether others than the people at this machine are meant to reach the product."""
    return urlsplit(settings.STOKER_PUBLIC_URL).hostname not in LOCAL_HOSTS


@register(Tags.security)
def safe_for_the_public(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS and is_public():
        found.append(
            Error(
                'ALLOWED_HOSTS is "*": websites of others could then open live connections in the name of your users.',
                hint="List the host names of this installation, parted by commas.",
                id="stoker.E001",
            )
        )
    if settings.DEBUG and is_public():
        found.append(
            Error(
                f"DEBUG is on while STOKER_PUBLIC_URL is {settings.STOKER_PUBLIC_URL}: "
                "error pages would show settings and data.",
                hint="Unset DEBUG.",
                id="stoker.E002",
            )
        )
    if settings.STOKER_ENCRYPTION_KEY_IS_GENERATED and is_public():
        found.append(
            Warning(
                "The key that seals people's provider keys lies in STOKER_HOME, beside what it protects: "
                "a backup of that folder opens them.",
                hint="Set ENCRYPTION_KEY to the content of STOKER_HOME/encryption_key, from a store for secrets, "
                "and remove the file.",
                id="stoker.W008",
            )
        )
    return found


@register()
def folder_is_usable(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    home = Path(settings.STOKER_HOME)
    if home.is_dir() and os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return []
    return [
        Error(
            f"STOKER_HOME ({home}) cannot be read and written by this user.",
            hint="Give the folder to the user that runs Stoker, or set STOKER_HOME to another one.",
            id="stoker.E003",
        )
    ]


@register()
def trainer_is_there(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    python = Path(settings.STOKER_TRAINER_PYTHON)
    if settings.STOKER_LOCAL_SLOTS == 0 or os.access(python, os.X_OK):
        return []
    return [
        Warning(
            f"There is no Python at {python}, so jobs cannot train on this machine.",
            hint="Run `make setup` or set STOKER_TRAINER_PYTHON; STOKER_LOCAL_SLOTS=0 offers other providers only.",
            id="stoker.W004",
        )
    ]


@register()
def browser_libraries_are_there(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    missing = missing_vendor_packages(Path(settings.BASE_DIR) / "node_modules")
    if not missing:
        return []
    return [
        Warning(
            f"Browser libraries are missing: {', '.join(missing)}. Pages will look bare and draw no charts.",
            hint="Run `npm ci` in the folder that holds package.json, or `make setup`.",
            id="stoker.W005",
        )
    ]


@register(Tags.security, deploy=True)
def sends_mail_and_is_encrypted(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if not settings.HTTPS:
        found.append(
            Warning(
                f"STOKER_PUBLIC_URL is {settings.STOKER_PUBLIC_URL}: passwords and tokens would travel unencrypted.",
                hint="Put a proxy with TLS in front; set STOKER_PUBLIC_URL to its https:// address and "
                "STOKER_TRUST_PROXY=1.",
                id="stoker.W006",
            )
        )
    if settings.STOKER_EMBEDDED_DATABASE:
        found.append(
            Warning(
                "The embedded PostgreSQL keeps everything on this machine alone.",
                hint="Back STOKER_HOME up, or set DATABASE_URL to a server that is.",
                id="stoker.W007",
            )
        )
    return found
