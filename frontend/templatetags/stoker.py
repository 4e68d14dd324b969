"""Template tags and filters of the pages."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from frontend import icons, show

register = template.Library()

# One place says what a status looks like: the icon beside its word. Its colour is in the style sheet, by name.
STATUS_ICONS = {
    "pending": "bookmark",
    "queued": "hourglass",
    "initializing": "rocket",
    "running": "flame",
    "cancelling": "hand-stop",
    "completed": "circle-check",
    "failed": "alert-triangle",
    "cancelled": "ban",
}


@register.simple_tag
def icon(name: str, css_class: str = "") -> SafeString:
    return icons.svg(name, css_class)


@register.simple_tag
def status_badge(job: dict[str, Any]) -> SafeString:
    return format_html(
        '<span class="status status-{}" data-f="status">{}<span>{}</span></span>',
        job["status"],
        icons.svg(STATUS_ICONS.get(job["status"], "help")),
        job["status_label"],
    )


@register.simple_tag
def when(value: Any, css_class: str = "") -> SafeString | str:
    """A time element; the browser rewrites it to its own time zone and to words such as "3 min ago"."""
    at = show.moment(value)
    if at is None:
        return show.MISSING
    local = timezone.localtime(at)
    return format_html(
        '<time class="{}" datetime="{}" title="{}" data-ago>{}</time>',
        css_class,
        at.isoformat(),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        local.strftime("%b %-d, %H:%M"),
    )


@register.simple_tag(takes_context=True)
def query(context: template.Context, **changes: Any) -> str:
    """The present query string with `changes`; an empty value removes a name."""
    values = context["request"].GET.copy()
    for name, value in changes.items():
        if value in (None, ""):
            values.pop(name, None)
        else:
            values[name] = value
    return f"?{values.urlencode()}" if values else "?"


@register.filter
def lookup(mapping: dict[str, Any], key: str) -> Any:
    return mapping.get(key)


@register.filter
def stage_beside(job: dict[str, Any]) -> str:
    """What is being done, and at which attempt, where the status alone does not say it. As in status.js."""
    if job["status"] not in ("queued", "initializing", "running", "cancelling"):
        return ""
    stage = "" if job["status"] == "running" and job["current_stage"] == "training" else job["stage_label"]
    again = f"attempt {job['attempt']} of {job['max_attempts']}" if (job["attempt"] or 1) > 1 else ""
    words = ", ".join(part for part in (stage, again) if part)
    return words[:1].upper() + words[1:]


@register.filter
def cost_beside(job: dict[str, Any]) -> str:
    """Of what a job's cost is a part: its limit, or what it will come to. As `costBeside` in costs.js."""
    if job["final_cost"] is not None:
        return ""
    if job["cost_limit"] or job["budget_limit"]:
        return f"limit {show.money(job['cost_limit'] or job['budget_limit'])}"
    whole = job["projected_cost"] or job["estimated_cost"]
    return f"of about {show.money(whole)}" if whole else ""


@register.filter
def ended_why(job: dict[str, Any]) -> str:
    """How a job ended, and why when that was not as wished."""
    if not job["reason"]:
        return job["status_label"] if job["status"] == "pending" else f"{job['status_label']}, {job['progress']:.0f} %"
    return job["status_label"] if job["status"] == "completed" else f"{job['status_label']}: {job['reason_text']}"


for name in ("money", "duration", "size", "count", "decimals", "epoch", "whole_percent"):
    register.filter(name, getattr(show, name))


@register.filter
def words(text: str) -> list[str]:
    return text.split()


@register.filter
def setting(value: Any) -> str:
    """A hyperparameter as a person would type it."""
    if value is None:
        return show.MISSING
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(str(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


@register.filter
def limit(value: Any) -> str:
    """The least or greatest value a person may type."""
    amount = float(value)
    return f"{amount:,.0f}" if amount == int(amount) else f"{amount:g}".replace("e-0", "e-")


@register.filter
def hours(seconds: Any) -> str:
    """Seconds as hours for an input, without needless zeros; empty when there is nothing."""
    amount = show.number(seconds)
    return "" if amount is None else f"{float(amount) / 3600:.4g}"


@register.filter
def percent(share: Any) -> str:
    """0.0123 as 1.2 %."""
    amount = show.number(share)
    return show.MISSING if amount is None else f"{float(amount) * 100:.3g} %"


@register.filter
def pretty_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
