from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import action, display

from pipeline.admin.parts import ShownAdmin, names_of
from pipeline.models import Credential
from pipeline.providers.base import ProviderError
from pipeline.providers.registry import UnknownProvider
from pipeline.services.credentials import check_again


@admin.register(Credential)
class CredentialAdmin(ShownAdmin):
    """People save their keys themselves; operators see whether they work, and never the keys."""

    list_display = ("owner", "provider", "shown_hint", "account_name", "state", "balance", "checked_at", "problem")
    list_select_related = ("owner",)
    list_filter = ("provider", ("problem", admin.EmptyFieldListFilter))
    search_fields = ("owner__username", "provider", "hint", "account_name", "problem")
    fields = readonly_fields = names_of(Credential, "secret")
    actions = ("check_now",)

    @display(description="Ends in")
    def shown_hint(self, credential: Credential) -> str:
        return f"…{credential.hint}"

    @display(description="State", label={"works": "success", "refused": "danger"})
    def state(self, credential: Credential) -> tuple[str, str]:
        return ("refused", "Does not work") if credential.problem else ("works", "Works")

    @action(description="Ask the provider now whether it accepts the key", permissions=["view"])
    def check_now(self, request: HttpRequest, credentials: QuerySet[Credential]) -> None:
        for credential in credentials:
            whose = f"{credential.owner}, {credential.provider}"
            try:
                checked = check_again(credential)
            except (ProviderError, UnknownProvider) as error:
                self.message_user(request, f"{whose}: {error}", messages.WARNING)
            else:
                level = messages.ERROR if checked.problem else messages.SUCCESS
                self.message_user(request, f"{whose}: {checked.problem or 'the key works.'}", level)
