"""What the settings page shows of a person's accounts at providers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from pipeline.models import Credential
from pipeline.providers.base import ChecksAccount, Provider, YesOrNo
from pipeline.services.credentials import with_accounts


@dataclass(frozen=True)
class Option:
    """One field of the form beyond key and address."""

    name: str
    label: str
    help: str
    ticked: bool | None  # None: a text
    text: str


@dataclass(frozen=True)
class ProviderAccount:
    name: str
    label: str
    takes_base_url: bool
    options: list[Option]
    credential: Credential | None


def accounts_of(user: Any) -> list[ProviderAccount]:
    """One for each provider that needs an account, whether the person has one or not."""
    saved = {credential.provider: credential for credential in Credential.objects.for_user(user)}
    return [_account(name, kind, saved.get(name)) for name, kind in with_accounts().items()]


def _account(name: str, kind: type[Provider], credential: Credential | None) -> ProviderAccount:
    takes = cast(type[ChecksAccount], kind)
    given = credential.options if credential else {}
    options = [_option(key, text, given.get(key)) for key, text in takes.account_options.items()]
    return ProviderAccount(name, kind.label, takes.takes_base_url, options, credential)


def _option(name: str, text: str, value: Any) -> Option:
    label = name.replace("_", " ").capitalize().replace("Gpu", "GPU")
    if isinstance(text, YesOrNo):
        return Option(name, label, text, bool(value), "")
    return Option(name, label, text, None, str(value or ""))
