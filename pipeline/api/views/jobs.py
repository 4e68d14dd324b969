"""Jobs: list, make, show, start, cancel, delete. What may be done is decided in `pipeline.services.jobs`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.shortcuts import get_object_or_404
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from pipeline.api.auth import person
from pipeline.api.filters import JobFilter
from pipeline.api.repeats import IDEMPOTENCY_KEY, Repeatable
from pipeline.api.serializers.jobs import (
    JobCreateSerializer,
    JobDetailSerializer,
    JobLimitsSerializer,
    JobSerializer,
    ResumeSerializer,
)
from pipeline.budgets import change_budget
from pipeline.models import Job
from pipeline.querysets import JobQuerySet
from pipeline.services.errors import Conflict
from pipeline.services.jobs import (
    delete_job,
    draft,
    draft_of_resumption,
    draft_of_retry,
    request_cancel,
    request_checkpoint,
    save_job,
    start_job,
)
from pipeline.states import JobStatus


@extend_schema_view(list=extend_schema(summary="Your jobs"))
class JobViewSet(Repeatable, ListModelMixin, GenericViewSet[Job]):
    repeatable = frozenset({"create", "retry", "resume"})
    queryset = Job.objects.none()
    serializer_class = JobSerializer
    lookup_url_kwarg = "job_id"
    filter_backends = [DjangoFilterBackend]
    filterset_class = JobFilter

    def get_queryset(self) -> JobQuerySet:
        return Job.objects.for_user(self.request.user).with_attempt()

    @extend_schema(
        summary="Make a job",
        parameters=[IDEMPOTENCY_KEY],
        request=JobCreateSerializer,
        responses={201: JobDetailSerializer},
    )
    def create(self, request: Request) -> Response:
        given = JobCreateSerializer(data=request.data, context={"request": request})
        given.is_valid(raise_exception=True)
        arguments = given.arguments()
        start = arguments.pop("start")
        return self._made(draft(person(request), **arguments), start=start)

    @extend_schema(summary="One job, with its configuration, newest metrics and costs", responses=JobDetailSerializer)
    def retrieve(self, request: Request, job_id: UUID) -> Response:
        return Response(self._detail(job_id))

    @extend_schema(
        summary="Change the budget and the maximum duration of a job that has not ended",
        description="Checked against your month as at its start; what is left out stays. Alerts are armed again.",
        request=JobLimitsSerializer,
        responses=JobDetailSerializer,
    )
    def limits(self, request: Request, job_id: UUID) -> Response:
        job = self._own(job_id)
        given = JobLimitsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        if given.validated_data:
            change_budget(job.pk, given.validated_data, actor=request.user.get_username())
        return Response(self._detail(job_id))

    @extend_schema(summary="Delete a job that never started or has ended", responses={204: None})
    def destroy(self, request: Request, job_id: UUID) -> Response:
        delete_job(self._own(job_id).pk)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(summary="Start a saved job", request=None, responses={202: JobSerializer})
    def start(self, request: Request, job_id: UUID) -> Response:
        start_job(self._own(job_id).pk, actor=request.user.get_username())
        return Response(self._state(job_id), status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Cancel an active job",
        description="Asking again is harmless. The job is `cancelling` until its machine is gone, then `cancelled`.",
        request=None,
        responses={
            202: OpenApiResponse(JobSerializer, "The cancellation was ordered."),
            200: OpenApiResponse(JobSerializer, "It was ordered before."),
        },
    )
    def cancel(self, request: Request, job_id: UUID) -> Response:
        self._own(job_id)
        try:
            ordered = request_cancel(job_id, actor=request.user.get_username())
        except Conflict:
            # What was asked for has come true meanwhile: a program that repeats its request has nothing to handle.
            if not Job.objects.filter(pk=job_id, status=JobStatus.CANCELLED).exists():
                raise
            ordered = False
        return Response(self._state(job_id), status=status.HTTP_202_ACCEPTED if ordered else status.HTTP_200_OK)

    @extend_schema(
        summary="Try an ended job again, as a new job",
        parameters=[IDEMPOTENCY_KEY],
        request=None,
        responses={201: JobDetailSerializer},
    )
    def retry(self, request: Request, job_id: UUID) -> Response:
        return self._made(draft_of_retry(self._own(job_id)), start=True)

    @extend_schema(
        summary="Go on with an ended job at a checkpoint it left, as a new job",
        parameters=[IDEMPOTENCY_KEY],
        request=ResumeSerializer,
        responses={201: JobDetailSerializer},
    )
    def resume(self, request: Request, job_id: UUID) -> Response:
        job = self._own(job_id)
        given = ResumeSerializer(data=request.data, context={"job": job})
        given.is_valid(raise_exception=True)
        return self._made(draft_of_resumption(job, given.validated_data["checkpoint"]), start=True)

    @extend_schema(
        summary="Ask a running job for a checkpoint, without stopping it",
        description="It is among the job's artifacts as soon as the program has saved and sent it.",
        request=None,
        responses={
            202: OpenApiResponse(JobSerializer, "The checkpoint was asked for."),
            200: OpenApiResponse(JobSerializer, "It was asked for before and is not stored yet."),
        },
    )
    def checkpoint(self, request: Request, job_id: UUID) -> Response:
        asked = request_checkpoint(self._own(job_id).pk, actor=request.user.get_username())
        return Response(self._state(job_id), status=status.HTTP_202_ACCEPTED if asked else status.HTTP_200_OK)

    def _made(self, drafted: Job, *, start: bool) -> Response:
        def work() -> Response:
            job = save_job(drafted, start=start)
            return Response(
                self._detail(job.pk), status=status.HTTP_201_CREATED, headers={"Location": f"/api/jobs/{job.pk}/"}
            )

        return self.once(work)

    def _own(self, job_id: UUID) -> Job:
        return get_object_or_404(Job.objects.for_user(self.request.user), pk=job_id)

    def _state(self, job_id: UUID) -> dict[str, Any]:
        return JobSerializer(self.get_queryset().get(pk=job_id)).data

    def _detail(self, job_id: UUID) -> dict[str, Any]:
        jobs = self.get_queryset().select_related("dataset", "eval_dataset", "preset")
        return JobDetailSerializer(get_object_or_404(jobs, pk=job_id)).data
