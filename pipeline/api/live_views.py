"""What the socket sends, for those who ask over HTTP: catching up after a gap, and the history behind the charts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from pipeline.api.pagination import LARGEST, query
from pipeline.api.views.telemetry import own_job
from pipeline.live.frames import job_frame
from pipeline.live.series import DEFAULT_POINTS, LEAST_POINTS, MOST_POINTS, Wanted, read_series
from pipeline.points import MAX_STEP

MAX_NAMES = 100


class LiveWindow(serializers.Serializer):
    after = serializers.IntegerField(
        min_value=0, max_value=LARGEST, default=0, help_text="Everything stored after this number; 0 for all."
    )


class SeriesWindow(serializers.Serializer):
    points = serializers.IntegerField(
        min_value=LEAST_POINTS, max_value=MOST_POINTS, default=DEFAULT_POINTS, help_text="At most so many a series."
    )
    to = serializers.IntegerField(min_value=0, max_value=MAX_STEP, required=False, help_text="Last step, inclusive.")
    names = serializers.CharField(
        required=False, allow_blank=True, max_length=4_000, help_text="Only these metrics, parted by commas."
    )

    def get_fields(self) -> dict[str, Any]:
        first = serializers.IntegerField(
            min_value=0, max_value=MAX_STEP, required=False, help_text="First step, inclusive."
        )
        return super().get_fields() | {"from": first}  # a word of Python's own, so it cannot stand above

    def validate_names(self, text: str) -> frozenset[str]:
        names = frozenset(name.strip() for name in text.split(",") if name.strip())
        if len(names) > MAX_NAMES:
            raise serializers.ValidationError(f"Ask for at most {MAX_NAMES} metrics at once.")
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "from" in attrs and "to" in attrs and attrs["from"] > attrs["to"]:
            raise serializers.ValidationError({"from": ["The first step lies behind the last one."]})
        return attrs


class LiveView(APIView):
    """The answer is written straight to JSON: there may be thousands of numbers in it."""

    @extend_schema(
        summary="Everything stored about a job after a number",
        description="The same frame that the websocket sends. When `more` is true, ask again after its `seq`.",
        parameters=[LiveWindow],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, job_id: UUID) -> HttpResponse:
        after = query(LiveWindow, request)["after"]
        frame = job_frame(own_job(request, job_id).pk, after)
        if frame is None:
            raise Http404
        return _json(frame.encode())


class MetricsView(APIView):
    @extend_schema(
        summary="The history of a job's metrics, thinned to what a chart can show",
        description="Peaks, the first and the last point of each series are kept. Frames after `seq` continue it.",
        parameters=[SeriesWindow],
        responses=OpenApiTypes.OBJECT,
    )
    def get(self, request: Request, job_id: UUID) -> HttpResponse:
        asked = query(SeriesWindow, request)
        wanted = Wanted(asked["points"], asked.get("from"), asked.get("to"), asked.get("names") or frozenset())
        series = read_series(own_job(request, job_id).pk, wanted)
        if series is None:
            raise Http404
        return _json(msgspec.json.encode(series))


def _json(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})
