"""How a job fared: its attempts one by one, and what needs attention now."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from pipeline.api.serializers.history import AttemptHistorySerializer, NoteSerializer
from pipeline.api.views.telemetry import own_job
from pipeline.attempts import attempts_of
from pipeline.situation import situation


class AttemptsView(APIView):
    @extend_schema(
        summary="The attempts of a job, first to last, with what each cost",
        responses=AttemptHistorySerializer(many=True),
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(AttemptHistorySerializer(attempts_of(own_job(request, job_id)), many=True).data)


class SituationView(APIView):
    @extend_schema(
        summary="What of a live job needs attention: its machine, its account, its money",
        description="Sentences for people, gravest first. Empty for a job in good order, and for one that has ended.",
        responses=NoteSerializer(many=True),
    )
    def get(self, request: Request, job_id: UUID) -> Response:
        return Response(NoteSerializer(situation(own_job(request, job_id)), many=True).data)
