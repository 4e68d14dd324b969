"""The datasets' own views, with what the API promises everywhere: asking again makes nothing twice."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request

from datasets.api.errors import refusals
from datasets.api.views import DatasetViewSet
from pipeline.api.repeats import IDEMPOTENCY_KEY, Repeatable


@extend_schema_view(
    create=extend_schema(parameters=[IDEMPOTENCY_KEY]), bring_in=extend_schema(parameters=[IDEMPOTENCY_KEY])
)
class RepeatableDatasets(Repeatable, DatasetViewSet):
    repeatable = frozenset({"create", "bring_in"})

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Comparing a request with an earlier one reads its body, so a disk that fills up shows here.
        with refusals():
            super().initial(request, *args, **kwargs)
