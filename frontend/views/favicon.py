"""The tab's icon, drawn with how far a job is. An address of its own, because the pages allow no data: images."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_GET

CIRCUMFERENCE = 88.0  # of the ring in the template, radius 14


@require_GET
@cache_control(public=True, max_age=86400)
def favicon(request: HttpRequest) -> HttpResponse:
    """?progress=0..100 draws a ring; ?state=completed or failed colours it. Anything else is the plain logo."""
    text = request.GET.get("progress", "")
    progress = min(int(text), 100) if text.isdecimal() and len(text) <= 3 else None
    state = request.GET.get("state", "")
    context = {
        "state": state if state in {"completed", "failed", "cancelled"} else "",
        "dash": None if progress is None else f"{CIRCUMFERENCE * progress / 100:.1f} {CIRCUMFERENCE}",
    }
    return render(request, "frontend/favicon.svg", context, content_type="image/svg+xml")
