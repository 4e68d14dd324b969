"""Deployments: start a saved job's machine, see what runs for it and what that costs, stop it."""

from __future__ import annotations

from uuid import UUID

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from pipeline.api.repeats import IDEMPOTENCY_KEY, Repeatable
from pipeline.api.serializers.deployments import DeploymentSerializer, DeploySerializer
from pipeline.models import Job
from pipeline.services.jobs import request_cancel, start_job


class DeploymentViewSet(Repeatable, GenericViewSet[Job]):
    repeatable = frozenset({"start"})
    queryset = Job.objects.none()
    serializer_class = DeploymentSerializer
    lookup_url_kwarg = "job_id"
    pagination_class = None
    filter_backends = []

    @extend_schema(
        summary="Rent the machine of a saved job",
        parameters=[IDEMPOTENCY_KEY],
        request=DeploySerializer,
        responses={202: DeploymentSerializer},
    )
    def start(self, request: Request) -> Response:
        given = DeploySerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        job: Job = given.validated_data["job"]

        def work() -> Response:
            start_job(job.pk, actor=request.user.get_username())
            location = f"/api/deployments/{job.pk}/"
            return Response(self._shown(job.pk), status=status.HTTP_202_ACCEPTED, headers={"Location": location})

        return self.once(work)

    @extend_schema(summary="What runs for a job, and what it costs", responses=DeploymentSerializer)
    def retrieve(self, request: Request, job_id: UUID) -> Response:
        return Response(self._shown(job_id))

    @extend_schema(
        summary="Stop what runs for a job",
        description="Cancels the job. Each machine stays in the list until the provider shows that it is gone.",
        request=None,
        responses={
            202: OpenApiResponse(DeploymentSerializer, "The stop was ordered."),
            200: OpenApiResponse(DeploymentSerializer, "It was ordered before."),
        },
    )
    def stop(self, request: Request, job_id: UUID) -> Response:
        ordered = request_cancel(self._own(job_id).pk, actor=request.user.get_username())
        return Response(self._shown(job_id), status=status.HTTP_202_ACCEPTED if ordered else status.HTTP_200_OK)

    def _own(self, job_id: UUID) -> Job:
        return get_object_or_404(Job.objects.for_user(self.request.user), pk=job_id)

    def _shown(self, job_id: UUID) -> dict[str, object]:
        return DeploymentSerializer(self._own(job_id)).data
