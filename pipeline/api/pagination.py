"""Pages of lists: by number where rows are few and sorted by choice, by position where rows only ever get appended."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request

MAX_PAGE_SIZE = 200
LARGEST = 2**63 - 1  # PostgreSQL's bigint


class Pages(PageNumberPagination):
    """?page=2&page_size=50 -> {"count", "next", "previous", "results"}"""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    def get_page_size(self, request: Request) -> int | None:
        given = request.query_params.get(self.page_size_query_param)
        if given is None:
            return self.page_size
        if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= MAX_PAGE_SIZE):
            raise ValidationError({"page_size": [f"Ask for 1 to {MAX_PAGE_SIZE} rows a page."]})
        return int(given)

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        try:
            return super().paginate_queryset(queryset, request, view)
        except NotFound as error:
            raise NotFound("There is no such page. Start again at page 1.", "no_such_page") from error


class Window(serializers.Serializer):
    """Query parameters of a list that is read forwards: rows after a position, oldest first."""

    after = serializers.IntegerField(
        min_value=0, max_value=LARGEST, default=0, help_text="Rows after this number; `next_after` of the last answer."
    )
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=200, help_text="At most so many rows.")


def query(serializer: type[serializers.Serializer], request: Request) -> dict[str, Any]:
    """The checked query parameters. A plain dictionary goes in: REST framework reads a QueryDict as an HTML form."""
    given = serializer(data=request.query_params.dict())
    given.is_valid(raise_exception=True)
    return given.validated_data
