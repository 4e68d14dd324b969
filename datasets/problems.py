"""problem+json answers (RFC 9457) for views that are not REST framework views."""

from __future__ import annotations

from http import HTTPStatus

from django.http import JsonResponse


def problem(status: int, code: str, detail: str) -> JsonResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [],
    }
    return JsonResponse(body, status=status, content_type="application/problem+json")
