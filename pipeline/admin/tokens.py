from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from pipeline.models import ApiToken
from pipeline.services.tokens import revoke_token


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """People make their tokens themselves; operators may see that they exist, and revoke them."""

    list_display = ("name", "owner", "shown_hint", "created_at", "last_used_at", "revoked_at")
    list_select_related = ("owner",)
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("name", "owner__username", "hint")
    fields = readonly_fields = ("name", "owner", "shown_hint", "created_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """A revoked token stays in the list: it tells whose it was."""
        return False

    @display(description="Ends in")
    def shown_hint(self, token: ApiToken) -> str:
        return f"…{token.hint}"

    @action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        revoked = sum(revoke_token(token.pk) for token in tokens)
        self.message_user(request, f"{revoked} revoked, {len(tokens) - revoked} were before.", messages.SUCCESS)
