"""What was spent, what may be spent, and what a job would cost. A person sees their own."""

from __future__ import annotations

from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline import holds
from pipeline.api import streams
from pipeline.api.auth import person
from pipeline.api.pagination import query
from pipeline.api.serializers.money import (
    BudgetSerializer,
    EstimateQuery,
    EstimateRequestSerializer,
    EstimateSerializer,
    SpendingQuery,
    SpendingSerializer,
)
from pipeline.api.views.telemetry import AnyAccept, own_job
from pipeline.budgets import set_monthly_limit
from pipeline.models import Job
from pipeline.services.errors import Conflict
from pipeline.services.jobs import draft
from pipeline.spending import By, Span, simulated_total, spending, table, total

MOST_ROWS = 1000
_PARAMETERS = [
    OpenApiParameter("by", OpenApiTypes.STR, enum=[one.value for one in By], default=By.DAY.value),
    OpenApiParameter("from", OpenApiTypes.DATE, description="The first day, UTC; left out: of this month."),
    OpenApiParameter("to", OpenApiTypes.DATE, description="The last day; left out: of this month."),
]


def _wanted(request: Request) -> tuple[By, Span]:
    given = query(SpendingQuery, request)
    month = Span.this_month()
    span = Span(given.get("from", month.first), given.get("to", month.last))
    if span.first > span.last:
        raise ValidationError({"to": ["The last day lies before the first one. Exchange them."]})
    return By(given["by"]), span


class SpendingView(APIView):
    @extend_schema(
        summary="What your jobs have cost, by day, provider or job, and how this month stands",
        description=f"At most {MOST_ROWS} rows; /api/spending.csv has all.",
        parameters=_PARAMETERS,
        responses=SpendingSerializer,
    )
    def get(self, request: Request) -> Response:
        by, span = _wanted(request)
        rows = spending(span, by, person(request).pk, limit=MOST_ROWS + 1)
        shown = rows[:MOST_ROWS]
        body = {
            "by": by, "first": span.first, "last": span.last, "currency": "USD", "total": total(shown),
            "simulated": simulated_total(shown), "more": len(rows) > MOST_ROWS, "rows": shown,
            "month": holds.month_of(person(request).pk),
        }  # fmt: skip
        return Response(SpendingSerializer(body).data)


class SpendingCsvView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="spending_csv",
        summary="What your jobs have cost, as a table",
        parameters=_PARAMETERS,
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A row a day, provider or job.")},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        by, span = _wanted(request)
        rows = table(spending(span, by, person(request).pk), by)
        return streams.download(
            request, (streams.csv_row(row) for row in rows), name=f"spending-{span.first}-{span.last}",
            extension=".csv", content_type="text/csv; charset=utf-8",
        )  # fmt: skip


class BudgetView(APIView):
    @extend_schema(summary="Your monthly limit, and how this month stands", responses=BudgetSerializer)
    def get(self, request: Request) -> Response:
        return self._shown(person(request).pk)

    @extend_schema(
        summary="Set or remove your monthly limit",
        description="A job holds the most it may cost from its start to its end; the sum stays within the limit.",
        request=BudgetSerializer,
        responses=BudgetSerializer,
    )
    def put(self, request: Request) -> Response:
        given = BudgetSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        set_monthly_limit(person(request), given.validated_data["monthly_limit"])
        return self._shown(person(request).pk)

    def _shown(self, owner_id: int) -> Response:
        month = holds.month_of(owner_id)
        return Response(BudgetSerializer({"monthly_limit": month.limit, "month": month}).data)


class EstimatesView(APIView):
    @extend_schema(
        operation_id="estimates_of_job",
        summary="What a saved job of yours would take and cost",
        parameters=[OpenApiParameter("job", OpenApiTypes.UUID, required=True)],
        responses=EstimateSerializer,
    )
    def get(self, request: Request) -> Response:
        return Response(_estimate(own_job(request, query(EstimateQuery, request)["job"])))

    @extend_schema(
        summary="What a job would take and cost",
        description="Takes the body of a new job, checks it in the same way, and makes nothing.",
        request=EstimateRequestSerializer,
        responses=EstimateSerializer,
    )
    def post(self, request: Request) -> Response:
        given = EstimateRequestSerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        arguments = given.arguments()
        arguments.pop("start")
        return Response(_estimate(draft(person(request), **arguments)))


def _estimate(job: Job) -> dict[str, Any]:
    """With what it would hold now. Whether that is still so when it starts is decided then, under a lock."""
    told, problem, limit = job.estimate, "", None
    try:
        limit = holds.limit_for(
            holds.charged(job.price_per_hour, job.provider),
            job.max_duration,
            job.budget_limit,
            job.estimated_cost,
            holds.month_of(job.owner_id),
        )
    except Conflict as conflict:
        problem = str(conflict)
    return EstimateSerializer(
        {
            "hours": told.get("hours"),
            "total": job.estimated_cost,
            "confidence": told.get("confidence", "none"),
            "basis": told.get("basis", ""),
            "low_hours": told.get("low_hours"),
            "high_hours": told.get("high_hours"),
            "runs": told.get("runs", 0),
            "price_per_hour": job.price_per_hour,
            "holds": limit,
            "problem": problem,
        }
    ).data
