from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from notifications import services
from notifications.api.serializers import NotificationSerializer, UnreadSerializer
from notifications.models import Kind, Notification
from pipeline.api.auth import person
from pipeline.api.pagination import Pages


class NotificationFilter(django_filters.FilterSet):
    unread = django_filters.BooleanFilter(field_name="read_at", lookup_expr="isnull")
    type = django_filters.MultipleChoiceFilter(choices=Kind.choices)
    job = django_filters.UUIDFilter(field_name="job_id")

    class Meta:
        model = Notification
        fields: tuple[str, ...] = ()


class PagesWithUnread(Pages):
    """Says beside each page how many are unread: what the bell shows."""

    def get_paginated_response(self, data: Any) -> Response:
        answer = super().get_paginated_response(data)
        answer.data["unread"] = self.unread
        return answer

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        self.unread = Notification.objects.for_user(request.user).unread().count()
        return super().paginate_queryset(queryset, request, view)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        envelope = super().get_paginated_response_schema(schema)
        envelope["properties"]["unread"] = {"type": "integer", "description": "Of all your notifications."}
        return envelope


@extend_schema_view(list=extend_schema(summary="Your notifications, newest first"))
class NotificationViewSet(ListModelMixin, GenericViewSet[Notification]):
    queryset = Notification.objects.none()
    serializer_class = NotificationSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = NotificationFilter
    pagination_class = PagesWithUnread

    def get_queryset(self) -> QuerySet[Notification]:
        return Notification.objects.for_user(self.request.user).order_by("-created_at", "id")

    @extend_schema(summary="How many you have not read", responses=UnreadSerializer)
    def unread(self, request: Request) -> Response:
        return Response({"unread": Notification.objects.for_user(request.user).unread().count()})

    @extend_schema(summary="Mark one as read", request=None, responses=NotificationSerializer)
    def read(self, request: Request, notification_id: UUID) -> Response:
        notification = get_object_or_404(self.get_queryset(), pk=notification_id)
        services.mark_read(notification.owner_id, [notification.pk])
        notification.refresh_from_db()
        return Response(NotificationSerializer(notification).data)

    @extend_schema(summary="Mark all as read", request=None, responses=UnreadSerializer)
    def read_all(self, request: Request) -> Response:
        services.mark_read(person(request).pk)
        return self.unread(request)
