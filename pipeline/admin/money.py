"""The ledger, everybody's spending, and the limits of people's months."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.utils.dateparse import parse_date
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from pipeline.admin.parts import ShownAdmin, money, table
from pipeline.api.streams import csv_row
from pipeline.budgets import set_monthly_limit
from pipeline.holds import Month, month_of, months
from pipeline.models import Budget, CostRecord
from pipeline.services.errors import Refusal
from pipeline.spending import By, Row, Span, spending, total
from pipeline.spending import table as as_table

MOST_ROWS = 500


@admin.register(CostRecord)
class CostRecordAdmin(ShownAdmin):
    list_display = (
        "job", "owner", "attempt", "kind", "period_start", "period_end", "seconds", "price_per_hour", "amount",
    )  # fmt: skip
    list_select_related = ("job", "attempt", "owner")
    list_filter = ("kind", "provider")
    search_fields = ("job__name", "job__id", "owner__username", "attempt__name")
    date_hierarchy = "period_start"
    ordering = ("-id",)
    actions_list = ("spending",)

    @action(description="Spending by day, provider and person", url_path="spending", permissions=["view"])
    def spending(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        by, span = _wanted(request)
        rows = spending(span, by, limit=None if "csv" in request.GET else MOST_ROWS)
        if "csv" in request.GET:
            name = f"spending-{by}-{span.first}-{span.last}.csv"
            return StreamingHttpResponse(
                map(csv_row, as_table(rows, by)),
                content_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
            )
        context = self.admin_site.each_context(request) | {
            "title": "Spending",
            "by": by,
            "choices": [one.value for one in By],
            "span": span,
            "total": money(total(rows)),
            "shown": _shown(by, rows),
            "opts": CostRecord._meta,
        }
        return TemplateResponse(request, "admin/pipeline/spending.html", context)


def _wanted(request: HttpRequest) -> tuple[By, Span]:
    """What the address asks for; nonsense means this month by day."""
    given, month = request.GET, Span.this_month()
    by = By(given["by"]) if given.get("by") in {one.value for one in By} else By.DAY
    return by, Span(_day(given.get("from")) or month.first, _day(given.get("to")) or month.last)


def _day(text: str | None) -> Any:
    try:
        day = parse_date(text or "")
    except ValueError:  # a day that no month has
        return None
    return day if day and 2000 <= day.year < 2200 else None


def _shown(by: By, rows: list[Row]) -> SafeString:
    cells = [
        (
            row.label,
            money(row.amount),
            money(row.invoiced),
            money(row.simulated or None),
            f"{row.seconds / 3600:,.2f} h",
            f"{row.jobs:,}",
        )
        for row in rows
    ]
    columns = (by.value, "metered", "invoiced", "simulated", "machine time", "jobs")
    return table(columns, cells, "Nothing was spent in these days.")


@admin.register(Budget)
class BudgetAdmin(ModelAdmin):
    list_display = ("owner", "monthly_limit", "spent", "held", "left", "projected")
    list_select_related = ("owner",)
    search_fields = ("owner__username",)
    autocomplete_fields = ("owner",)
    fields = ("owner", "monthly_limit", "spent", "held", "left", "projected")
    readonly_fields = ("spent", "held", "left", "projected")

    def get_readonly_fields(self, request: HttpRequest, obj: Budget | None = None) -> tuple[str, ...]:
        return (*(("owner",) if obj else ()), *self.readonly_fields)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A limit is taken away by emptying it; the row is the lock under which jobs start."""
        return False

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The months of all people on the page, with one query."""
        page = super().get_changelist_instance(request)
        found = months({budget.pk: budget.monthly_limit for budget in page.result_list})
        for budget in page.result_list:
            vars(budget)["month"] = found[budget.pk]
        return page

    def save_model(self, request: HttpRequest, obj: Budget, form: ModelForm[Budget], change: bool) -> None:
        try:
            saved = set_monthly_limit(obj.owner, obj.monthly_limit, even_if_spent=True)
        except Refusal as refusal:
            self.message_user(request, str(refusal), messages.WARNING)
            return
        month = month_of(saved.pk)
        if month.left is not None and month.left < 0:
            sentence = "What is spent and held passes this limit: live jobs go on until the month's limit is spent."
            self.message_user(request, sentence, messages.WARNING)

    @display(description="Spent this month")
    def spent(self, budget: Budget) -> str:
        return money(_month(budget).spent)

    @display(description="Held for live jobs")
    def held(self, budget: Budget) -> str:
        return money(_month(budget).held)

    @display(description="Left")
    def left(self, budget: Budget) -> str:
        return money(_month(budget).left)

    @display(description="At this pace")
    def projected(self, budget: Budget) -> str:
        return money(_month(budget).projected)


def _month(budget: Budget) -> Month:
    """Read once for a page; of nobody while a new row is being made."""
    known = vars(budget)
    if "month" not in known:
        known["month"] = month_of(budget.pk or 0)
    month: Month = known["month"]
    return month
