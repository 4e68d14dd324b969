"""The operators' site: who may come near it at all, the dashboard, and the audit trail."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django_otp import login as remember_device
from unfold.sites import UnfoldAdminSite

from pipeline.config import audit, dashboard
from pipeline.config.second_factor import CodeForm
from pipeline.throttles import exact_address_of

View = Callable[..., HttpResponse]


class OperatorsSite(UnfoldAdminSite):
    index_template = "operators/dashboard.html"

    def get_urls(self) -> list[URLPattern]:
        own = [path("audit/", self.admin_view(self.audit_trail), name="audit_trail")]
        return [*own, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, {"title": "Dashboard", "now": dashboard.read(request)} | (extra_context or {}))

    def audit_trail(self, request: HttpRequest) -> HttpResponse:
        context = self.each_context(request) | {"title": "Audit trail"} | audit.page(request)
        return TemplateResponse(request, "operators/audit.html", context)

    # Who gets in

    def has_permission(self, request: HttpRequest) -> bool:
        """Staff alone; where the installation asks for a code, only after it was given in this session."""
        if not super().has_permission(request):
            return False
        return not settings.STOKER_ADMIN_TOTP or request.user.is_verified()  # type: ignore[union-attr]

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        return _only_from_allowed_addresses(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        view = self._second_step if settings.STOKER_ADMIN_TOTP else super().login
        return _only_from_allowed_addresses(view)(request, extra_context)

    @property
    def _second_step(self) -> View:
        return never_cache(self._ask_for_code)

    def _ask_for_code(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The password, or the link, was asked for by our own sign-in page; here the code follows."""
        onward = _onward(request)
        if not request.user.is_authenticated:
            return redirect(f"{settings.LOGIN_URL}?{urlencode({'next': onward})}")
        if self.has_permission(request):
            return redirect(onward)
        form = CodeForm(request.user, request.POST or None)
        if request.method == "POST" and request.user.is_staff and form.is_valid():
            remember_device(request, form.device)
            return redirect(onward)
        context = self.each_context(request) | {"title": "Your code", "form": form, "next": onward}
        return TemplateResponse(request, "operators/code.html", context | (extra_context or {}))


def _onward(request: HttpRequest) -> str:
    wanted: str = request.POST.get("next") or request.GET.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if safe else reverse("admin:index")


def _only_from_allowed_addresses(view: View) -> View:
    """To everybody else the admin does not exist."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        networks: list[IPv4Network | IPv6Network] = settings.STOKER_ADMIN_ADDRESSES
        if networks and not _is_in(exact_address_of(request), networks):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def _is_in(address: str, networks: list[IPv4Network | IPv6Network]) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(mapped in network for network in networks)
