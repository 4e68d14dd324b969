from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from pipeline.models import ApiToken


@login_required
@require_GET
def settings_page(request: HttpRequest) -> HttpResponse:
    tokens = ApiToken.objects.filter(owner=request.user.pk, revoked_at=None)
    return render(request, "frontend/settings.html", {"tokens": tokens})
