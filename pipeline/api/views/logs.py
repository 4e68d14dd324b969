"""The log of a job: read in either direction, searched, downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline.api import streams
from pipeline.api.pagination import query
from pipeline.api.serializers.logs import (
    LogFilter,
    LogLineSerializer,
    LogPageSerializer,
    LogPlacesSerializer,
    LogWindow,
)
from pipeline.api.views.telemetry import AnyAccept, own_job
from pipeline.models import LogLine

MOST_PLACES = 2000
# What an error looks like in the output of training programs, in PostgreSQL's regular expressions.
PROBLEM = (
    r"Traceback \(most recent call last\)|\m(ERROR|FATAL|CRITICAL)\M|\m[A-Z]\w*(Error|Exception)\M|\mError\M"
    r"|^error:|\mout of memory\M|Segmentation fault|^Killed"
)


class LogsView(APIView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        summary="The log of a job, in its order",
        parameters=[LogWindow],
        responses={
            (200, "application/json"): LogPageSerializer,
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "With `download`."),
        },
    )
    def get(self, request: Request, job_id: UUID) -> Response | StreamingHttpResponse:
        wanted = query(LogWindow, request)
        job = own_job(request, job_id)
        lines = _lines(job_id, wanted)
        if "after_n" in wanted:
            attempt = wanted.get("after_attempt", wanted.get("attempt", 1))
            lines = lines.filter(Q(attempt=attempt, n__gt=wanted["after_n"]) | Q(attempt__gt=attempt))
        if "before_n" in wanted:
            attempt = wanted.get("before_attempt", wanted.get("attempt", 1))
            lines = lines.filter(Q(attempt=attempt, n__lt=wanted["before_n"]) | Q(attempt__lt=attempt))
        if wanted["download"]:
            return streams.download(
                request, _text(lines), name=job.name, extension=".log", content_type="text/plain; charset=utf-8"
            )
        limit, backwards = wanted["limit"], "after_n" not in wanted
        order = ("-attempt", "-n") if backwards else ("attempt", "n")
        rows = list(lines.order_by(*order)[: limit + 1])
        more, rows = len(rows) > limit, rows[:limit]
        following = None
        if more and "after_n" in wanted:
            following = {"after_attempt": rows[-1].attempt, "after_n": rows[-1].n}
        elif more and "before_n" in wanted:
            following = {"before_attempt": rows[-1].attempt, "before_n": rows[-1].n}
        shown = rows[::-1] if backwards else rows
        return Response({"results": LogLineSerializer(shown, many=True).data, "next": following})


class LogPlacesView(APIView):
    @extend_schema(
        summary="Where in the log of a job lines like these are",
        description=f"The first {MOST_PLACES} places; read the lines around one with `after_n` and `before_n`.",
        parameters=[LogFilter],
        responses=LogPlacesSerializer,
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        wanted = query(LogFilter, request)
        lines = _lines(own_job(request, job_id).pk, wanted).order_by("attempt", "n")
        places = list(lines.values("attempt", "n")[: MOST_PLACES + 1])
        return Response({"results": places[:MOST_PLACES], "more": len(places) > MOST_PLACES})


def _lines(job_id: UUID, wanted: Mapping[str, Any]) -> QuerySet[LogLine]:
    lines = LogLine.objects.filter(job=job_id)
    if "attempt" in wanted:
        lines = lines.filter(attempt=wanted["attempt"])
    if "stream" in wanted:
        lines = lines.filter(stream=wanted["stream"])
    if wanted["q"]:
        lines = lines.filter(text__icontains=wanted["q"])
    if wanted["problems"]:
        lines = lines.filter(text__regex=PROBLEM)
    return lines


def _text(lines: QuerySet[LogLine]) -> Iterator[str]:
    for line in streams.in_blocks(lines, "attempt", "n"):
        yield f"{line.at.isoformat(timespec='milliseconds')} a{line.attempt} {line.stream} {line.text}\n"
