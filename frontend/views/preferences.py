from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from frontend.provider_accounts import accounts_of
from pipeline.models import ApiToken


@login_required
@never_cache
@require_GET
def settings_page(request: HttpRequest) -> HttpResponse:
    """The whole page, or with the header X-Fragment only the accounts at providers."""
    accounts = accounts_of(request.user)
    if request.headers.get("X-Fragment"):
        return render(request, "frontend/partials/provider_accounts.html", {"accounts": accounts})
    tokens = ApiToken.objects.filter(owner=request.user.pk, revoked_at=None)
    return render(request, "frontend/settings.html", {"tokens": tokens, "accounts": accounts})
