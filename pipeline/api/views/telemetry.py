"""What one job left: events, samples, files, costs, and its metrics and events as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import OuterRef, Subquery
from django.http import HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasets.storage import signed_url
from pipeline.api import streams
from pipeline.api.pagination import query
from pipeline.api.serializers.telemetry import (
    ArtifactSerializer,
    CostRecordSerializer,
    EventPageSerializer,
    EventSerializer,
    EventWindow,
    PointSerializer,
    SampleSerializer,
)
from pipeline.models import Artifact, ArtifactState, CostRecord, Job, MetricPoint
from pipeline.models.telemetry import METRIC_COLUMNS
from pipeline.services.errors import Conflict

DOWNLOAD_LINK_VALID = timedelta(minutes=10)


def own_job(request: Request, job_id: UUID) -> Job:
    return get_object_or_404(Job.objects.for_user(request.user), pk=job_id)


class AnyAccept(DefaultContentNegotiation):
    """For addresses that answer with a file: whatever the caller says it accepts, that is what there is."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> tuple[Any, str]:
        return renderers[0], renderers[0].media_type


class EventsView(APIView):
    @extend_schema(
        summary="What happened to a job, oldest first", parameters=[EventWindow], responses=EventPageSerializer
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        wanted = query(EventWindow, request)
        events = own_job(request, job_id).events.filter(seq__gt=wanted["after"]).order_by("seq")
        if "kind" in wanted:
            events = events.filter(kind=wanted["kind"])
        rows = list(events[: wanted["limit"] + 1])
        more, rows = len(rows) > wanted["limit"], rows[: wanted["limit"]]
        return Response(
            {"results": EventSerializer(rows, many=True).data, "next_after": rows[-1].seq if more else None}
        )


class EventsCsvView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="jobs_events_csv",
        summary="All events as a table",
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A row an event; `data` as JSON.")},
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse:
        job = own_job(request, job_id)
        return streams.download(
            request,
            _events_csv(job),
            name=f"{job.name}-events",
            extension=".csv",
            content_type="text/csv; charset=utf-8",
        )


class EventsJsonView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="jobs_events_json",
        summary="All events as JSON",
        responses={(200, "application/json"): EventSerializer(many=True)},
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse:
        job = own_job(request, job_id)
        return streams.download(
            request,
            streams.json_list(EventSerializer(event).data for event in streams.in_blocks(job.events.all(), "seq")),
            name=f"{job.name}-events",
            extension=".json",
            content_type="application/json",
        )


class SamplesView(APIView):
    @extend_schema(
        summary="Held-out prompts with the answers of base model and adapter", responses=SampleSerializer(many=True)
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        samples = own_job(request, job_id).samples.order_by("index")
        return Response(SampleSerializer(samples, many=True).data)


class ArtifactsView(APIView):
    @extend_schema(summary="Files a job left, newest first", responses=ArtifactSerializer(many=True))
    def get(self, request: Request, job_id: UUID) -> Response:
        files = own_job(request, job_id).artifacts.select_related("attempt").order_by("-created_at", "pk")
        artifacts = files.annotate(loss=_value_at("loss"), eval_loss=_value_at("eval_loss"))
        return Response(ArtifactSerializer(artifacts, many=True).data)


def _value_at(metric: str) -> Subquery:
    """The metric's last value up to the step of a file."""
    points = MetricPoint.objects.filter(job=OuterRef("job"), step__lte=OuterRef("step"), **{f"{metric}__isnull": False})
    return Subquery(points.order_by("-step").values(metric)[:1])


class ArtifactDownloadView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        summary="Download a file",
        description="Leads to a link that is good for ten minutes.",
        responses={302: OpenApiResponse(description="Location: the link.")},
    )
    def get(self, request: Request, artifact_id: UUID) -> HttpResponse:
        artifacts = Artifact.objects.filter(job__in=Job.objects.for_user(request.user)).select_related("job")
        artifact = get_object_or_404(artifacts, pk=artifact_id)
        if artifact.state != ArtifactState.STORED:
            raise Conflict("This file is still being uploaded. Try again when it is stored.", code="not_stored")
        filename = f"{streams.file_stem(artifact.job.name)}-{artifact.name}"
        return HttpResponseRedirect(signed_url("artifacts", artifact.path, DOWNLOAD_LINK_VALID, filename))


class CostsView(GenericAPIView[CostRecord]):
    queryset = CostRecord.objects.none()
    serializer_class = CostRecordSerializer
    filter_backends = ()

    @extend_schema(summary="Metered pieces of machine time, oldest first", responses=CostRecordSerializer(many=True))
    def get(self, request: Request, job_id: UUID) -> Response:
        records = own_job(request, job_id).cost_records.order_by("period_start", "id")
        page = self.paginate_queryset(records)
        return self.get_paginated_response(CostRecordSerializer(page or [], many=True).data)


class MetricsCsvView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="jobs_metrics_csv",
        summary="All metric points as a table",
        responses={(200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "A row a step, a column a metric.")},
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse:
        job = own_job(request, job_id)
        return streams.download(
            request, _csv(job), name=f"{job.name}-metrics", extension=".csv", content_type="text/csv; charset=utf-8"
        )


class MetricsJsonView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="jobs_metrics_json",
        summary="All metric points as JSON",
        responses={(200, "application/json"): PointSerializer(many=True)},
    )
    def get(self, request: Request, job_id: UUID) -> StreamingHttpResponse:
        job = own_job(request, job_id)
        return streams.download(
            request,
            streams.json_list(PointSerializer(point).data for point in _points(job)),
            name=f"{job.name}-metrics",
            extension=".json",
            content_type="application/json",
        )


def _points(job: Job) -> Iterator[MetricPoint]:
    return streams.in_blocks(MetricPoint.objects.filter(job=job), "step")


def _csv(job: Job) -> Iterator[str]:
    extra = _extra_names(job)
    yield streams.csv_row(["step", "at", "attempt", *METRIC_COLUMNS, *extra])
    for point in _points(job):
        values = [getattr(point, name) for name in METRIC_COLUMNS]
        values += [(point.extra or {}).get(name) for name in extra]
        flagged = point.nonfinite or {}
        cells = [flagged.get(name, value) for name, value in zip((*METRIC_COLUMNS, *extra), values, strict=True)]
        yield streams.csv_row([point.step, point.at.isoformat(), point.attempt, *cells])


def _extra_names(job: Job) -> list[str]:
    """The names of metrics that have no column of their own, over all points."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT jsonb_object_keys(COALESCE(extra, '{}') || COALESCE(nonfinite, '{}')) AS name"
            " FROM pipeline_metricpoint WHERE job_id = %s ORDER BY name",
            [job.pk],
        )
        return [name for (name,) in cursor.fetchall() if name not in METRIC_COLUMNS]


def _events_csv(job: Job) -> Iterator[str]:
    yield streams.csv_row(["seq", "at", "attempt", "kind", "level", "message", "actor", "data"])
    for event in streams.in_blocks(job.events.all(), "seq"):
        yield streams.csv_row(
            [
                event.seq,
                event.created_at.isoformat(),
                event.attempt,
                event.kind,
                event.level,
                event.message,
                event.actor,
                json.dumps(event.data, ensure_ascii=False) if event.data else "",
            ]
        )
