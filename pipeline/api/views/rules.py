"""Rules: a person's defaults for new jobs, and those of each job, which may be changed while it runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from pipeline.api.auth import person
from pipeline.api.errors import problem
from pipeline.api.pagination import query
from pipeline.api.serializers.rules import (
    PresetQuery,
    RuleChangeSerializer,
    RuleGivenSerializer,
    RuleKindSerializer,
    RuleSerializer,
    SaidRuleSerializer,
    VersionQuery,
    said,
)
from pipeline.models import Job, Rule
from pipeline.rule_kinds import KINDS
from pipeline.services import rulebook
from pipeline.services.errors import InvalidInput

_VERSION = OpenApiParameter("version", OpenApiTypes.INT, required=True, description="Of the rule you saw.")
_STALE = "Another `version` than the rule has now is answered with 409, and `current` holds what it says now."


class RuleViewSet(GenericViewSet[Rule]):
    queryset = Rule.objects.none()
    serializer_class = RuleSerializer
    lookup_url_kwarg = "rule_id"
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Rule]:
        return Rule.objects.for_user(self.request.user).select_related("job")

    @extend_schema(summary="Your default rules, which new jobs get", responses=RuleSerializer(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(rulebook.defaults_of(person(request)))
        assert page is not None
        return self.get_paginated_response(RuleSerializer(page, many=True).data)

    @extend_schema(summary="Add a default rule", request=RuleGivenSerializer, responses={201: RuleSerializer})
    def create(self, request: Request) -> Response:
        rule = rulebook.add_default(person(request), _given(request))
        return Response(RuleSerializer(rule).data, status=status.HTTP_201_CREATED)

    @extend_schema(summary="One rule", responses=RuleSerializer)
    def retrieve(self, request: Request, rule_id: UUID) -> Response:
        return Response(RuleSerializer(self.get_object()).data)

    @extend_schema(
        summary="Change a rule, switch it on or off",
        description=f"It is armed again: it looks at what comes from now on. {_STALE}",
        request=RuleChangeSerializer,
        responses=RuleSerializer,
    )
    def change(self, request: Request, rule_id: UUID) -> Response:
        rule = self.get_object()
        given = RuleChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        changes = dict(given.validated_data)
        version = changes.pop("version")
        try:
            rulebook.change(rule.pk, version, changes, actor=request.user.get_username())  # type: ignore[arg-type]
        except rulebook.Stale as stale:
            return _stale(stale)
        return self.retrieve(request, rule_id)

    @extend_schema(
        summary="Delete a rule",
        description=f"One that everybody has is switched off instead. {_STALE}",
        parameters=[_VERSION],
        responses={204: None},
    )
    def destroy(self, request: Request, rule_id: UUID) -> Response:
        rule = self.get_object()
        try:
            rulebook.remove(rule.pk, query(VersionQuery, request)["version"], actor=request.user.get_username())
        except rulebook.Stale as stale:
            return _stale(stale)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Arm a rule that fired",
        description="A rule fires once. Armed again, it looks at what comes from now on.",
        request=None,
        responses=RuleSerializer,
    )
    def arm(self, request: Request, rule_id: UUID) -> Response:
        rulebook.arm(self.get_object().pk, actor=request.user.get_username())
        return self.retrieve(request, rule_id)


class JobRulesView(APIView):
    @extend_schema(
        operation_id="jobs_rules_list", summary="The rules of a job, and where they stand",
        responses=RuleSerializer(many=True),
    )  # fmt: skip
    def get(self, request: Request, job_id: UUID) -> Response:
        rules = _own(request, job_id).rules.select_related("job")
        return Response(RuleSerializer(rules, many=True).data)

    @extend_schema(
        operation_id="jobs_rules_create", summary="Give a job one more rule, also while it runs",
        request=RuleGivenSerializer, responses={201: RuleSerializer},
    )  # fmt: skip
    def post(self, request: Request, job_id: UUID) -> Response:
        job = _own(request, job_id)
        rule = rulebook.add(job.pk, _given(request), actor=request.user.get_username())
        return Response(RuleSerializer(rule).data, status=status.HTTP_201_CREATED)


class RuleKindsView(APIView):
    @extend_schema(summary="What rules there are, with their parameters", responses=RuleKindSerializer(many=True))
    def get(self, request: Request) -> Response:
        return Response(RuleKindSerializer(KINDS.values(), many=True).data)


class NewJobRulesView(APIView):
    @extend_schema(
        operation_id="rules_of_a_new_job",
        summary="The rules a new job would get: yours, and its preset's",
        parameters=[OpenApiParameter("preset", OpenApiTypes.STR, description="Left out: none.")],
        responses=SaidRuleSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        preset = query(PresetQuery, request).get("preset")
        return Response([said(one) for one in rulebook.for_new_job(person(request), preset)])


class RuleCheckView(APIView):
    @extend_schema(
        operation_id="rules_check",
        summary="Check a rule, and read it as a sentence, without making it",
        request=RuleGivenSerializer,
        responses=SaidRuleSerializer,
    )
    def post(self, request: Request) -> Response:
        columns, errors = rulebook.checked(_given(request))
        if errors:
            raise InvalidInput(errors)
        return Response(said(columns))


def _given(request: Request) -> dict[str, Any]:
    given = RuleGivenSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    return given.validated_data


def _own(request: Request, job_id: UUID) -> Job:
    return get_object_or_404(Job.objects.for_user(request.user), pk=job_id)


def _stale(stale: rulebook.Stale) -> Response:
    return problem(409, stale.code, str(stale), current=RuleSerializer(stale.current).data)
