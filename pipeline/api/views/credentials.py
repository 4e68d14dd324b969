"""A person's keys at providers. They go in and never come out."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from pipeline.api.auth import person
from pipeline.api.serializers.credentials import CredentialSaveSerializer, CredentialSerializer
from pipeline.models import Credential
from pipeline.providers.registry import provider_names
from pipeline.services import credentials


@extend_schema_view(list=extend_schema(summary="Your keys at providers, without the keys"))
class CredentialViewSet(ListModelMixin, GenericViewSet[Credential]):
    queryset = Credential.objects.none()
    serializer_class = CredentialSerializer
    lookup_field = "provider"
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Credential]:
        return Credential.objects.for_user(self.request.user).order_by("provider")

    @extend_schema(
        summary="Save your key at a provider, in place of an earlier one",
        description="The provider is asked first: what it refuses, or cannot check now, is not saved. Give the whole "
        "each time. While machines run, only a key of the same account is taken.",
        request=CredentialSaveSerializer,
        responses=CredentialSerializer,
    )
    def save(self, request: Request, provider: str) -> Response:
        if provider not in provider_names():
            raise Http404
        given = CredentialSaveSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        saved = credentials.save(person(request), provider, **given.validated_data)
        return Response(CredentialSerializer(saved).data)

    @extend_schema(
        summary="Forget your key at a provider",
        description="Refused while a machine may still run in the account: only the key can end it.",
        responses={204: None},
    )
    def destroy(self, request: Request, provider: str) -> Response:
        credentials.remove(self._own(provider))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Ask the provider whether it still accepts your key",
        description="The answer stands in `problem`: blank when the key works.",
        request=None,
        responses=CredentialSerializer,
    )
    def check(self, request: Request, provider: str) -> Response:
        return Response(CredentialSerializer(credentials.check_again(self._own(provider))).data)

    def _own(self, provider: str) -> Credential:
        return get_object_or_404(self.get_queryset(), provider=provider)
