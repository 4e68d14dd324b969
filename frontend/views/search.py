from __future__ import annotations

from django.http import HttpRequest

LONGEST = 120


def search_text(request: HttpRequest) -> str:
    """What a person searches for, `?q=`. PostgreSQL refuses texts with a NUL, so it is left out."""
    return request.GET.get("q", "").replace("\x00", "").strip()[:LONGEST]
