from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from pipeline.admin.parts import ATTEMPT_COLOURS, ShownAdmin, names_of, table
from pipeline.models import Attempt, CallOutcome, ProviderCall

OUTCOME_COLOURS = {
    CallOutcome.PENDING.value: "info",
    CallOutcome.OK.value: "success",
    CallOutcome.DEFINITE_NO.value: "warning",
    CallOutcome.UNKNOWN.value: "danger",
}
NEWEST_CALLS = 20


def calls_table(**of: Any) -> SafeString:
    """The newest calls that may have changed something outside, as a table."""
    calls = ProviderCall.objects.filter(**of).select_related("attempt").order_by("-id")[:NEWEST_CALLS]
    rows = [
        (
            call.attempt.n if call.attempt else None,
            f"{call.started_at:%Y-%m-%d %H:%M:%S}",
            call.op,
            call.get_outcome_display(),
            call.http_status,
            call.detail,
        )
        for call in calls
    ]
    return table(("attempt", "at", "call", "outcome", "HTTP", "detail"), rows, "None yet.")


@admin.register(Attempt)
class AttemptAdmin(ShownAdmin):
    list_display = ("name", "job", "n", "provider", "external_id", "shown_state", "reason", "last_seen_at", "gone_at")
    list_select_related = ("job",)
    list_filter = (("state", ChoicesDropdownFilter), "provider", ("reason", ChoicesDropdownFilter))
    list_filter_submit = True
    search_fields = ("name", "external_id", "job__name", "job__id")
    date_hierarchy = "created_at"
    fields = (*names_of(Attempt, "token_hash"), "calls")
    readonly_fields = fields

    @display(description="State", ordering="state", label=ATTEMPT_COLOURS)
    def shown_state(self, attempt: Attempt) -> tuple[str, str]:
        return attempt.state, attempt.get_state_display()

    @display(description="Calls to the provider")
    def calls(self, attempt: Attempt) -> SafeString:
        return calls_table(attempt=attempt)


@admin.register(ProviderCall)
class ProviderCallAdmin(ShownAdmin):
    list_display = ("id", "attempt", "op", "shown_outcome", "http_status", "started_at", "ended_at", "request_id")
    list_select_related = ("attempt",)
    list_filter = (("outcome", ChoicesDropdownFilter), "op")
    list_filter_submit = True
    search_fields = ("attempt__name", "request_id", "detail")

    @display(description="Outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def shown_outcome(self, call: ProviderCall) -> tuple[str, str]:
        return call.outcome, call.get_outcome_display()
