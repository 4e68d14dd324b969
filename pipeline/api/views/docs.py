"""The OpenAPI document, a page to read it with, and the answer to addresses that do not exist."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


@extend_schema(exclude=True)
class SchemaView(SpectacularAPIView):
    """YAML, or JSON with ?format=json."""

    def handle_exception(self, error: Exception) -> Response:
        self.request.accepted_renderer = JSONRenderer()  # a problem is JSON, whatever was asked for
        return super().handle_exception(error)


@extend_schema(exclude=True)
class DocsView(LoginRequiredMixin, SpectacularSwaggerSplitView):
    """The split view has its start-up script at an address of its own: the content policy forbids inline scripts."""

    template_name = "pipeline/api_docs.html"
    url_name = "api-schema"
    title = "Stoker API"


@extend_schema(exclude=True)
class UnknownAddressView(APIView):
    """Keeps the promise that every error below /api/ is problem+json."""

    permission_classes = ()
    authentication_classes = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise NotFound(_sentence(request._request), "no_such_address")

    def get(self, request: Request, rest: str) -> Response:
        raise NotFound


def _sentence(request: HttpRequest) -> str:
    if not request.path.endswith("/"):
        try:
            found = resolve(request.path + "/")
        except Resolver404:
            found = None
        if found and getattr(found.func, "cls", None) is not UnknownAddressView:
            return f"Addresses end with a slash here: {request.path}/"
    return "There is no such address. /api/docs/ lists all of them."
