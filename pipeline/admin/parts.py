"""What the pages of the admin are put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from pipeline.states import AttemptState, JobStatus

# Unfold's names of colours. The labels beside them carry the meaning, so that nobody has to tell colours apart.
STATUS_COLOURS = {
    JobStatus.QUEUED.value: "info",
    JobStatus.INITIALIZING.value: "info",
    JobStatus.RUNNING.value: "primary",
    JobStatus.CANCELLING.value: "warning",
    JobStatus.COMPLETED.value: "success",
    JobStatus.FAILED.value: "danger",
}
ATTEMPT_COLOURS = {
    AttemptState.INTENT.value: "warning",
    AttemptState.LIVE.value: "primary",
    AttemptState.GONE.value: "success",
}
LEVEL_COLOURS = {"warning": "warning", "error": "danger", "info": "info"}


class Shown:
    """For models that the system alone writes: to be looked at, never to be added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ShownAdmin(Shown, ModelAdmin):
    # Counting all rows of a large table would take longer than showing a page of it.
    show_full_result_count: ClassVar[bool] = False
    list_per_page: ClassVar[int] = 50


class ShownInline(Shown, TabularInline):
    extra: ClassVar[int] = 0
    tab: ClassVar[bool] = True
    show_change_link: ClassVar[bool] = True
    per_page: ClassVar[int] = 20


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> SafeString:
    """A small table for a field of a page. Every cell is escaped."""
    body = [
        (format_html_join("", '<td class="px-3 py-1 whitespace-nowrap">{}</td>', ((_cell(one),) for one in row)),)
        for row in rows
    ]
    if not body:
        return format_html("{}", empty)
    head = format_html_join("", '<th scope="col" class="px-3 py-1 text-left">{}</th>', ((one,) for one in headings))
    return format_html(
        '<div class="overflow-x-auto"><table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>',
        head,
        format_html_join("", "<tr>{}</tr>", body),
    )


def money(value: Any) -> str:
    return "–" if value is None else f"${float(value):,.4f}"


def _cell(value: Any) -> Any:
    if value is None:
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else value


def names_of(model: type[models.Model], *left_out: str) -> tuple[str, ...]:
    """The names of all columns of a model but some, in table order."""
    return tuple(field.name for field in model._meta.fields if field.name not in left_out)
