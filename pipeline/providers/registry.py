"""Provider names to provider objects, from `settings.STOKER_PROVIDERS` (name -> dotted path of the class)."""

from __future__ import annotations

from functools import cache
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string

from pipeline.providers.base import Account, Provider
from pipeline.providers.secrecy import discreet


class UnknownProvider(LookupError):
    """No provider of that name is installed."""


def provider_names() -> list[str]:
    return list(settings.STOKER_PROVIDERS)


def provider_class(name: str) -> type[Provider]:
    """Raise UnknownProvider with a sentence when `name` is not installed."""
    path = settings.STOKER_PROVIDERS.get(name)
    if path is None:
        raise UnknownProvider(f"There is no provider named “{name}”. Installed: {', '.join(provider_names())}.")
    return _import(path)


def get_provider(name: str, account: Account | None = None) -> Provider:
    """The provider, opened with an account where it needs one; what then comes out of it never holds the secret."""
    kind = provider_class(name)
    return discreet(kind)(account) if account else kind()


@cache
def _import(path: str) -> type[Provider]:
    return cast(type[Provider], import_string(path))
