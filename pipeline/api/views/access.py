"""The person who asks, and the API tokens of their programs."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from pipeline.api.auth import person
from pipeline.api.serializers.access import MeSerializer, NewTokenSerializer, TokenCreateSerializer, TokenSerializer
from pipeline.models import ApiToken
from pipeline.services.tokens import create_token, revoke_token


class MeView(APIView):
    @extend_schema(summary="Who you are here", responses=MeSerializer)
    def get(self, request: Request) -> Response:
        user = person(request)
        return Response(
            {
                "id": user.pk,
                "username": user.get_username(),
                "email": user.email,
                "is_staff": user.is_staff,
                "signed_in_with": "token" if isinstance(request.auth, ApiToken) else "session",
            }
        )


@extend_schema_view(list=extend_schema(summary="Your API tokens, newest first"))
class TokenViewSet(ListModelMixin, GenericViewSet[ApiToken]):
    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[ApiToken]:
        return ApiToken.objects.filter(owner_id=self.request.user.pk).order_by("-created_at", "pk")

    @extend_schema(
        summary="Make an API token",
        description="The token is in this answer and nowhere else. A signed-in person makes tokens; a token cannot.",
        request=TokenCreateSerializer,
        responses={201: NewTokenSerializer},
    )
    def create(self, request: Request) -> Response:
        if isinstance(request.auth, ApiToken):
            raise PermissionDenied("A token cannot make tokens. Sign in and make it in the settings.", "session_needed")
        given = TokenCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        token, text = create_token(person(request), given.validated_data["name"])
        body = TokenSerializer(token).data | {"token": text}
        return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})

    @extend_schema(summary="Revoke an API token", description="Doing it again is harmless.", responses={204: None})
    def destroy(self, request: Request, token_id: UUID) -> Response:
        token = get_object_or_404(self.get_queryset(), pk=token_id)
        revoke_token(token.pk)
        return Response(status=status.HTTP_204_NO_CONTENT)
