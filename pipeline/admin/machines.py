"""The leak board: what runs at each account now, whose it is, what it costs, and a button to end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from pipeline.admin.attempts import calls_table
from pipeline.admin.parts import ShownAdmin, money, names_of
from pipeline.models import AccountLook, MachineSighting
from pipeline.providers.base import ProviderError
from pipeline.providers.registry import UnknownProvider
from pipeline.services import orders, sweeping
from pipeline.services.errors import Refusal
from pipeline.services.jobs import request_cancel
from pipeline.services.machines import accounts_now, cost_of, forgotten

VERDICT_COLOURS = {"owned": "success", "orphan": "danger", "strange": "warning"}
VERDICTS = {"owned": "A job's", "orphan": "Forgotten", "strange": "Unclear"}
ACTS = "pipeline.change_machinesighting"


@admin.register(MachineSighting)
class MachineSightingAdmin(ShownAdmin):
    list_display = (
        "external_id", "name", "provider", "shown_verdict", "shown_state", "price_per_hour", "shown_cost",
        "first_seen_at", "last_seen_at",
    )  # fmt: skip
    list_select_related = ("attempt", "credential")
    list_filter = (("verdict", ChoicesDropdownFilter), "provider", "held_back")
    list_filter_submit = True
    search_fields = ("name", "external_id")
    list_before_template = "admin/pipeline/machines.html"
    fields = (*names_of(MachineSighting), "shown_cost", "calls")
    readonly_fields = fields

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.act)
        return [path("act/", view, name="pipeline_machines"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        board = _board(request) if self.has_view_permission(request) else {}
        return super().changelist_view(request, {"title": "Machines", "board": board} | (extra_context or {}))

    def act(self, request: HttpRequest) -> HttpResponse:
        """What the board's buttons ask for."""
        if not request.user.has_perm(ACTS):
            raise PermissionDenied
        if request.method == "POST":
            _act(request)
        return HttpResponseRedirect(reverse("admin:pipeline_machinesighting_changelist"))

    @display(description="Whose", ordering="verdict", label=VERDICT_COLOURS)
    def shown_verdict(self, sighting: MachineSighting) -> tuple[str, str]:
        return sighting.verdict, VERDICTS[sighting.verdict]

    @display(description="State", ordering="gone_at")
    def shown_state(self, sighting: MachineSighting) -> str:
        return "gone" if sighting.gone_at else "missing" if sighting.missing_since else sighting.state

    @display(description="Cost, about")
    def shown_cost(self, sighting: MachineSighting) -> str:
        return money(cost_of(sighting, timezone.now()))

    @display(description="Orders to end it")
    def calls(self, sighting: MachineSighting) -> SafeString:
        return calls_table(sighting=sighting)


@admin.register(AccountLook)
class AccountLookAdmin(ShownAdmin):
    list_display = ("provider", "credential", "tried_at", "worked_at", "problem", "held_back")
    list_select_related = ("credential",)
    list_filter = ("provider",)
    search_fields = ("provider", "credential__owner__username", "problem")
    fields = readonly_fields = names_of(AccountLook, "claim_token")


def _board(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    accounts = accounts_now(sweeping.known_looks(), now)
    return {
        "now": now,
        "accounts": accounts,
        "running": sum(len(one.machines) for one in accounts),
        "price_per_hour": sum(one.price_per_hour for one in accounts),
        "forgotten": forgotten(now),
        "may_act": request.user.has_perm(ACTS),
        "sure": mark_safe("onclick=\"return confirm('End it? What runs there stops.')\""),
    }


def _act(request: HttpRequest) -> None:
    """Do what a button asks for and say what came of it."""
    what, number = request.POST.get("do", ""), request.POST.get("id", "")
    actions: dict[str, Callable[[HttpRequest, str], None]] = {
        "look": _look, "end": _end, "cancel": _cancel, "confirm": _confirm,
    }  # fmt: skip
    try:
        actions[what](request, number)
    except (KeyError, ValueError, ObjectDoesNotExist):
        messages.warning(request, "That is not there any more. Look at the board again.")
    except (Refusal, ProviderError, UnknownProvider) as error:
        messages.warning(request, str(error))


def _look(request: HttpRequest, number: str) -> None:
    looks = sweeping.known_looks()
    for look in looks.filter(pk=int(number)) if number else looks:
        outcome = sweeping.sweep(look)
        if outcome is None:
            messages.info(request, f"{look}: somebody is looking at it this moment.")
        elif outcome.problem:
            messages.error(request, f"{look}: {outcome.problem}")
        else:
            count = len(outcome.findings)
            ordered = f" {len(outcome.ordered)} told to end." if outcome.ordered else ""
            messages.success(request, f"{look}: {count} machine{'' if count == 1 else 's'}.{ordered}")


def _end(request: HttpRequest, number: str) -> None:
    sighting = MachineSighting.objects.select_related("attempt__job", "credential").get(pk=int(number))
    messages.success(request, orders.end_machine(sighting, actor=request.user.get_username()))


def _cancel(request: HttpRequest, number: str) -> None:
    """For a machine that no list has shown yet: through its job."""
    request_cancel(UUID(number), actor=request.user.get_username())
    messages.success(request, "The job is being cancelled.")


def _confirm(request: HttpRequest, number: str) -> None:
    look = AccountLook.objects.select_related("credential").get(pk=int(number))
    for sentence in orders.confirm(look, actor=request.user.get_username()):
        messages.success(request, sentence)
