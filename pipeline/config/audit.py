"""Who did what: what people did in the admin, to jobs, and at providers, as one list with the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.dateparse import parse_datetime

from pipeline.models import JobEvent, ProviderCall

PAGE = 50
SEES = ("admin.view_logentry", "pipeline.view_jobevent", "pipeline.view_providercall")


@dataclass(frozen=True)
class Deed:
    at: datetime
    who: str
    what: str
    about: str
    link: str


def page(request: HttpRequest) -> dict[str, Any]:
    """What the page shows: the deeds before a moment, of one person if that is asked for."""
    if not request.user.has_perms(SEES):
        raise PermissionDenied
    who = request.GET.get("who", "").replace("\x00", "").strip()[:150]
    before = _moment(request.GET.get("before", ""))
    deeds = newest(PAGE + 1, who, before)
    more = deeds[PAGE - 1].at.isoformat() if len(deeds) > PAGE else ""
    return {"deeds": deeds[:PAGE], "who": who, "before": before, "more": more}


def newest(number: int, who: str = "", before: datetime | None = None) -> list[Deed]:
    """The newest of each source, merged: three queries, however long the history is."""
    found = [
        *_in_the_admin(
            _some(LogEntry.objects.select_related("user", "content_type"), "action_time", before), who, number
        ),
        *_to_jobs(_some(JobEvent.objects.exclude(actor="").select_related("job"), "created_at", before), who, number),
        *_at_providers(
            _some(
                ProviderCall.objects.exclude(actor="").select_related("attempt__job", "sighting"), "started_at", before
            ),
            who,
            number,
        ),
    ]
    return sorted(found, key=lambda deed: deed.at, reverse=True)[:number]


def _some(rows: QuerySet[Any], at: str, before: datetime | None) -> QuerySet[Any]:
    """Ids grow with time, so the newest rows are found without an index on the time."""
    return (rows.filter(**{f"{at}__lt": before}) if before else rows).order_by("-pk")


def _in_the_admin(rows: QuerySet[LogEntry], who: str, number: int) -> Iterator[Deed]:
    for entry in (rows.filter(user__username=who) if who else rows)[:number]:
        about = f"{entry.content_type.name}: {entry.object_repr}" if entry.content_type else entry.object_repr
        try:
            link = entry.get_admin_url() if entry.content_type and not entry.is_deletion() else None
        except NoReverseMatch:
            link = None
        what = entry.get_change_message() or entry.get_action_flag_display()
        yield Deed(entry.action_time, entry.user.get_username(), what, about, link or "")


def _to_jobs(rows: QuerySet[JobEvent], who: str, number: int) -> Iterator[Deed]:
    for event in (rows.filter(actor=who) if who else rows)[:number]:
        link = reverse("admin:pipeline_job_change", args=[event.job_id])
        yield Deed(event.created_at, event.actor, event.message, f"job: {event.job.name}", link)


def _at_providers(rows: QuerySet[ProviderCall], who: str, number: int) -> Iterator[Deed]:
    for call in (rows.filter(actor=who) if who else rows)[:number]:
        one = call.attempt or call.sighting
        link = reverse("admin:pipeline_providercall_change", args=[call.pk])
        what = f"{call.op.capitalize()}: {call.get_outcome_display().lower()}. {call.detail}".strip()
        yield Deed(call.started_at, call.actor, what, f"machine: {one.name if one else '–'}", link)


def _moment(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None
