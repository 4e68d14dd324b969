"""What a person sees when a page cannot be shown. Named as handlers in the URL configuration."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string


def _page(request: HttpRequest, status: int, title: str, text: str, icon: str) -> HttpResponse:
    context = {"status": status, "title": title, "text": text, "icon": icon}
    return render(request, "frontend/error.html", context, status=status)


def bad_request(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return _page(request, 400, "That request was not understood", "Go back and try again from the page you came from.", "help")


def forbidden(request: HttpRequest, exception: Any = None) -> HttpResponse:
    return _page(request, 403, "You may not open this", "Sign in with an account that may, or ask whoever runs this server.", "lock")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    text = "The form you sent was too old, or cookies are turned off. Reload the page you came from and send it again."
    return _page(request, 403, "This form has expired", text, "clock-off")


def not_found(request: HttpRequest, exception: Any = None) -> HttpResponse:
    text = "It may have been deleted, or the address is not quite right. What belongs to other people is not shown either."
    return _page(request, 404, "There is nothing here", text, "map-off")


def server_error(request: HttpRequest) -> HttpResponse:
    """Uses neither the database nor the session: either may be what failed."""
    return HttpResponse(render_to_string("frontend/500.html"), status=500)
