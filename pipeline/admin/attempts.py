from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextInputWidget

from pipeline.admin.forcing import close_page
from pipeline.admin.parts import ATTEMPT_COLOURS, ShownAdmin, names_of, table
from pipeline.models import Attempt, CallOutcome, ProviderCall
from pipeline.services import unknown
from pipeline.services.errors import Refusal

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


class SettleForm(forms.Form):
    """The operator's statement about a creation whose answer was lost."""

    exists = forms.ChoiceField(
        label="At the provider",
        choices=[("yes", "it exists, under this id:"), ("no", "there is nothing of this name; I have looked")],
        widget=UnfoldAdminRadioSelectWidget,
    )
    external_id = forms.CharField(
        label="Id at the provider", max_length=unknown.MAX_ID, required=False, widget=UnfoldAdminTextInputWidget
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        if given.get("exists") == "yes" and not given.get("external_id"):
            self.add_error("external_id", "Give the id that the provider shows for it.")
        if given.get("exists") == "no" and given.get("external_id"):
            self.add_error("external_id", "Leave this empty, or say that it exists.")
        return given

    def apply(self, attempt: Attempt, *, actor: str) -> None:
        """Raise Refusal."""
        if self.cleaned_data["exists"] == "yes":
            unknown.adopt_unknown(attempt, self.cleaned_data["external_id"], actor=actor)
        else:
            unknown.close_unknown(attempt, actor=actor)


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
    actions_detail = ("settle", "close_on_word")

    @action(description="Say what became of it", permissions=["settle"], url_path="settle")
    def settle(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Where a lost answer cannot be found out: an operator names the machine, or states that there is none."""
        attempt = get_object_or_404(Attempt.objects.select_related("job", "credential__owner"), pk=object_id)
        form = SettleForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                form.apply(attempt, actor=request.user.get_username())
            except Refusal as refusal:
                form.add_error(None, str(refusal))
            else:
                self.message_user(request, f"{attempt.name}: {attempt.get_state_display().lower()}.", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:pipeline_attempt_change", args=[attempt.pk]))
        context = self.admin_site.each_context(request) | {
            "title": "What became of it?",
            "opts": self.model._meta,
            "attempt": attempt,
            "unknown": unknown.is_unknown(attempt),
            "form": form,
        }
        return TemplateResponse(request, "admin/pipeline/settle.html", context)

    def has_settle_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Who may change jobs; the button is there only while there is something to settle."""
        if not request.user.has_perm("pipeline.change_job"):
            return False
        attempt = Attempt.objects.filter(pk=object_id).first() if object_id else None
        return object_id is None or request.method == "POST" or (attempt is not None and unknown.is_unknown(attempt))

    @action(description="Close it on your word", permissions=["close"], url_path="close")
    def close_on_word(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Where the provider itself is gone: an operator states, with what they saw, that the machine is, too."""
        attempt = get_object_or_404(Attempt.objects.select_related("job", "credential__owner"), pk=object_id)
        return close_page(self, request, attempt)

    def has_close_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Who may change jobs; the button is there only after an end without grace that nothing came of."""
        if not request.user.has_perm("pipeline.change_job"):
            return False
        attempt = Attempt.objects.filter(pk=object_id).first() if object_id else None
        forced = attempt is not None and attempt.is_open and bool(attempt.forced_by)
        return object_id is None or request.method == "POST" or forced

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
