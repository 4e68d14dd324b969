"""What there is to choose from when a job is made: the same for everybody, but for the accounts a person has."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ReadOnlyModelViewSet

from pipeline import catalogue, market
from pipeline.api.serializers.catalogue import (
    BaseModelSerializer,
    HyperparameterSerializer,
    PresetSerializer,
    ProviderSerializer,
)
from pipeline.models import Preset
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
        return Response(ProviderSerializer(market.stands(request.user), many=True).data)
