"""The scripted provider with accounts, a balance and a bill."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from pipeline import accounts, vault
from pipeline.models import Credential
from pipeline.providers.base import Account, Balance, ProviderError
from tests.fakes.provider import ScriptedProvider


class PrepaidProvider(ScriptedProvider):
    """What is left, what runs and what was charged are set by the test; an error is raised instead."""

    name: ClassVar[str] = "prepaid"
    label: ClassVar[str] = "Prepaid"
    needs_account: ClassVar[bool] = True
    account_options: ClassVar[Mapping[str, str]] = {}
    takes_base_url: ClassVar[bool] = False

    left: ClassVar[Balance | ProviderError | None] = None
    bills: ClassVar[dict[str, Decimal | ProviderError | None]] = {}
    asked: ClassVar[list[str]] = []

    def __init__(self, account: Account | None = None) -> None:
        assert account is not None

    @classmethod
    def reset(cls) -> None:
        cls.left, cls.bills, cls.asked = None, {}, []

    def check_account(self) -> str:
        return "an account"

    def balance(self) -> Balance | None:
        self.asked.append("balance")
        if isinstance(self.left, ProviderError):
            raise self.left
        return self.left

    def billed(self, external_id: str, since: datetime) -> Decimal | None:
        self.asked.append(external_id)
        answer = self.bills.get(external_id)
        if isinstance(answer, ProviderError):
            raise answer
        return answer


def make_credential(owner: Any, provider: str = "prepaid", **fields: Any) -> Credential:
    credential = Credential(owner=owner, provider=provider, **fields)
    credential.secret = vault.seal("secret of the account", accounts.bound_to(credential))
    credential.save()
    return credential
