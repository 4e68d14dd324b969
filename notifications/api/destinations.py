"""Where a person is told beside the bell, of which events, and what became of each message."""

from __future__ import annotations

from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from notifications import destinations
from notifications.api.destination_serializers import (
    ChoicesSerializer,
    DeliverySerializer,
    DestinationAddSerializer,
    DestinationChangeSerializer,
    DestinationMadeSerializer,
    DestinationSerializer,
    SecretSerializer,
    SettingsSerializer,
    TestedSerializer,
)
from notifications.models import Delivery, Destination, Kind
from pipeline.api.auth import person


@extend_schema_view(list=extend_schema(summary="Your destinations, without their addresses"))
class DestinationViewSet(ListModelMixin, GenericViewSet[Destination]):
    queryset = Destination.objects.none()
    serializer_class = DestinationSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Destination]:
        return Destination.objects.for_user(self.request.user).order_by("created_at", "id")

    @extend_schema(
        summary="Add a destination",
        description="The answer to a webhook's holds the `secret` that signs its messages. It is not shown again.",
        request=DestinationAddSerializer,
        responses={201: DestinationMadeSerializer},
    )
    def create(self, request: Request) -> Response:
        given = DestinationAddSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made, secret = destinations.add(person(request), **given.validated_data)
        made.secret = secret  # type: ignore[attr-defined]
        return Response(DestinationMadeSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(summary="One of your destinations")
    def retrieve(self, request: Request, destination_id: UUID) -> Response:
        return Response(DestinationSerializer(self._own(destination_id)).data)

    @extend_schema(
        summary="Rename a destination, change its address, switch it on or off",
        description="A new address, or switching it on, begins anew. What waits when it is switched off is given up, "
        "and can be sent again later.",
        request=DestinationChangeSerializer,
        responses=DestinationSerializer,
    )
    def change(self, request: Request, destination_id: UUID) -> Response:
        destination = self._own(destination_id)
        given = DestinationChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(DestinationSerializer(destinations.change(destination, **given.validated_data)).data)

    @extend_schema(summary="Forget a destination, with the log of its deliveries", responses={204: None})
    def destroy(self, request: Request, destination_id: UUID) -> Response:
        self._own(destination_id).delete()
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        summary="Send a test message now",
        description="The answer says what came of it. It may take some seconds.",
        request=None,
        responses=TestedSerializer,
    )
    def test(self, request: Request, destination_id: UUID) -> Response:
        return Response(TestedSerializer(destinations.test(self._own(destination_id))).data)

    @extend_schema(
        summary="Sign a webhook with a new secret",
        description="The present secret signs, too, for another 24 hours: change your receiver meanwhile.",
        request=None,
        responses=SecretSerializer,
    )
    def new_secret(self, request: Request, destination_id: UUID) -> Response:
        return Response({"secret": destinations.change_secret(self._own(destination_id))})

    def _own(self, destination_id: UUID) -> Destination:
        return get_object_or_404(self.get_queryset(), pk=destination_id)


class DeliveryFilter(django_filters.FilterSet):
    state = django_filters.MultipleChoiceFilter(choices=Delivery.State.choices)
    destination = django_filters.UUIDFilter(field_name="destination_id")
    notification = django_filters.UUIDFilter(field_name="notification_id")

    class Meta:
        model = Delivery
        fields: tuple[str, ...] = ()


@extend_schema_view(list=extend_schema(summary="What became of the messages to your destinations, newest first"))
class DeliveryViewSet(ListModelMixin, GenericViewSet[Delivery]):
    queryset = Delivery.objects.none()
    serializer_class = DeliverySerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = DeliveryFilter

    def get_queryset(self) -> QuerySet[Delivery]:
        mine = Delivery.objects.for_user(self.request.user)
        return mine.select_related("notification", "destination").order_by("-created_at", "id")

    @extend_schema(
        summary="Send a message again, as soon as possible",
        description="Also one that arrived. It keeps its id, so that receivers can tell.",
        request=None,
        responses={202: DeliverySerializer},
    )
    def send_again(self, request: Request, delivery_id: UUID) -> Response:
        destinations.send_again(get_object_or_404(self.get_queryset(), pk=delivery_id))
        again = self.get_queryset().get(pk=delivery_id)
        return Response(DeliverySerializer(again).data, status=status.HTTP_202_ACCEPTED)


class SettingsView(APIView):
    @extend_schema(
        summary="Which events you are told of at which destination",
        description="In the app you are told of everything.",
        responses=SettingsSerializer,
    )
    def get(self, request: Request) -> Response:
        return self._shown(request)

    @extend_schema(
        summary="Choose which events you are told of where",
        description="Give what is to change; all other choices stay.",
        request=ChoicesSerializer,
        responses=SettingsSerializer,
    )
    def patch(self, request: Request) -> Response:
        given = ChoicesSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        choices = given.validated_data["choices"]
        destinations.choose(person(request), [(one["destination"], one["type"], one["wanted"]) for one in choices])
        return self._shown(request)

    def _shown(self, request: Request) -> Response:
        shown = {
            "types": [{"type": value, "label": label} for value, label in Kind.choices],
            "destinations": [
                {"destination": one.pk, "name": one.name, "wanted": wanted}
                for one, wanted in destinations.matrix(request.user)
            ],
        }
        return Response(SettingsSerializer(shown).data)
