"""Many jobs at once: one order for all, their curves beside each other, and the list as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline.api import streams
from pipeline.api.auth import person
from pipeline.api.filters import JobFilter
from pipeline.api.pagination import query
from pipeline.api.serializers.many import AnswersSerializer, CompareQuery, ComparisonSerializer, JobIdsSerializer
from pipeline.api.views.telemetry import AnyAccept
from pipeline.live.state import job_state, jobs_with_attempt
from pipeline.models import Job
from pipeline.services import many
from pipeline.side_by_side import Curves, metric_names, read_curves, results

BLOCK = 500  # jobs a query, where all are read
COLUMNS = (
    "id", "name", "status", "reason", "provider", "gpu_type", "simulated", "base_model", "progress", "current_step",
    "total_steps", "loss", "eval_loss", "current_cost", "final_cost", "cost_limit", "attempt", "created_at",
    "started_at", "completed_at",
)  # fmt: skip


class CancelManyView(APIView):
    @extend_schema(
        operation_id="jobs_cancel_many",
        summary="Cancel many jobs",
        description=f"At most {many.MOST}. Each id gets an answer of its own; asking again is harmless.",
        request=JobIdsSerializer,
        responses=AnswersSerializer,
    )
    def post(self, request: Request) -> Response:
        given = JobIdsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        answers = many.cancel_many(person(request), given.validated_data["ids"])
        ordered = sum(answer.result == many.ORDERED for answer in answers)
        return Response(AnswersSerializer({"ordered": ordered, "results": answers}).data)


class CompareView(APIView):
    """The answer is written straight to JSON: there may be thousands of numbers in it."""

    @extend_schema(
        operation_id="jobs_compare",
        summary="Curves and results of several jobs",
        description="Thinned to what a chart can show; peaks, the first and the last point of each curve are kept.",
        parameters=[CompareQuery],
        responses=ComparisonSerializer,
    )
    def get(self, request: Request) -> HttpResponse:
        asked = query(CompareQuery, request)
        ids = asked["ids"]
        # First the jobs, with the numbers that their frames go on from; then the points.
        found = {job.pk: job for job in jobs_with_attempt(ids) if job.owner_id == person(request).pk}
        if len(found) < len(ids):
            raise Http404
        jobs = [found[job_id] for job_id in ids]
        curves = read_curves(ids, asked["names"], asked["points"])
        came = results(jobs)
        body = {
            "names": metric_names(jobs),
            "jobs": [_compared(job, curves[job.pk], asdict(came[job.pk])) for job in jobs],
        }
        return HttpResponse(
            msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "no-store"}
        )


def _compared(job: Job, curves: Curves, came: dict[str, Any]) -> dict[str, Any]:
    state = job_state(job)
    amounts = ("cost", "cost_per_million_tokens")
    return {
        **{name: state[name] for name in ("id", "name", "url", "status", "simulated")},
        "seq": job.event_seq, "began": curves.began, "points": curves.points, "downsampled": curves.thinned,
        "series": curves.series, "axes": curves.axes,
        "results": came | {name: None if came[name] is None else f"{came[name]:.6f}" for name in amounts},
    }  # fmt: skip


class JobsCsvView(GenericAPIView[Job]):
    content_negotiation_class = AnyAccept
    queryset = Job.objects.none()
    filter_backends = [DjangoFilterBackend]
    filterset_class = JobFilter
    pagination_class = None

    @extend_schema(
        operation_id="jobs_csv",
        summary="Your jobs as a table",
        description="The same filters as the list; all that match, newest first unless another order is asked for.",
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A row a job.")},
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        ids = list(self.filter_queryset(Job.objects.for_user(request.user)).values_list("pk", flat=True))
        return streams.download(
            request, _rows(ids), name="jobs", extension=".csv", content_type="text/csv; charset=utf-8"
        )


def _rows(ids: list[Any]) -> Iterator[str]:
    yield streams.csv_row(COLUMNS)
    for start in range(0, len(ids), BLOCK):
        block = ids[start : start + BLOCK]
        found = {job.pk: job for job in jobs_with_attempt(block)}
        for job in (found[job_id] for job_id in block if job_id in found):
            state = job_state(job)
            state |= {name: state["current_metrics"].get(name) for name in ("loss", "eval_loss")}
            yield streams.csv_row([state[name] for name in COLUMNS])
