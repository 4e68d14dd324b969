"""What there is to choose from when a job is made: the same for everybody, but for the accounts a person has."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from pipeline import accounts, catalogue
from pipeline.api.serializers.catalogue import (
    BaseModelSerializer,
    HyperparameterSerializer,
    PresetSerializer,
    ProviderSerializer,
)
from pipeline.models import Preset
from pipeline.providers.base import Offer, ProviderError
from pipeline.providers.registry import provider_class, provider_names
from training.hyperparameters import FIELDS


@extend_schema_view(
    list=extend_schema(summary="Named sets of hyperparameters"), retrieve=extend_schema(summary="One preset")
)
class PresetViewSet(ReadOnlyModelViewSet[Preset]):
    queryset = Preset.objects.order_by("position", "name").prefetch_related("rules")
    serializer_class = PresetSerializer
    lookup_field = "slug"
    pagination_class = None
    filter_backends = ()


class BaseModelsView(APIView):
    @extend_schema(
        summary="Base models to choose from",
        description="A help, not a limit: a job may name any model of the Hugging Face Hub.",
        responses=BaseModelSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        return Response(BaseModelSerializer(catalogue.base_models(), many=True).data)


class HyperparametersView(APIView):
    @extend_schema(
        summary="Every hyperparameter with its limits and default", responses=HyperparameterSerializer(many=True)
    )
    def get(self, request: Request) -> Response:
        return Response(HyperparameterSerializer(FIELDS, many=True).data)


class ProvidersView(APIView):
    @extend_schema(
        summary="Where jobs can run, and for how much",
        description="A provider that cannot be asked now says so in `problem` and has no offers.",
        responses=ProviderSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        return Response(ProviderSerializer([_shown(name, request.user) for name in provider_names()], many=True).data)


def _shown(name: str, user: Any) -> dict[str, Any]:
    provider = provider_class(name)
    offers: list[Offer] = []
    problem, has_account = "", True
    try:
        offers = list(accounts.provider_for(user, name).offers())
    except ProviderError as error:
        problem, has_account = str(error), not isinstance(error, accounts.NoAccount)
    return {
        "name": name,
        "label": provider.label,
        "simulated": provider.simulated,
        "available": not problem,
        "problem": problem,
        "offers": offers,
        "needs_account": provider.needs_account,
        "has_account": has_account,
    }
