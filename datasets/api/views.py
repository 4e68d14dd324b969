"""REST interface of datasets: /api/datasets/. Everything belongs to its owner; anyone else gets 404."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.http import HttpRequest
from django.utils import timezone
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.settings import api_settings
from rest_framework.viewsets import GenericViewSet

from datasets import preview, services
from datasets.api import serializers
from datasets.api.errors import RefusedByService, refusals
from datasets.models import Dataset, DatasetQuerySet


class UploadHandler(TemporaryFileUploadHandler):
    """Takes files to disk only, and lets go of a file at once when the disk is full."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        try:
            super().receive_data_chunk(raw_data, start)
        except OSError:
            with suppress(OSError):  # closing writes what is buffered, which fails in the same way
                self.file.close()
            raise


class Pages(PageNumberPagination):
    page_size = 25
    page_size_query_param = "page_size"
    max_page_size = 100


@extend_schema_view(list=extend_schema(summary="Your datasets"), retrieve=extend_schema(summary="One dataset"))
class DatasetViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[Dataset]):
    queryset = Dataset.objects.none()
    permission_classes = (IsAuthenticated,)
    parser_classes: Sequence[Any] = (*api_settings.DEFAULT_PARSER_CLASSES, MultiPartParser)
    pagination_class = Pages
    filter_backends = (DjangoFilterBackend, SearchFilter, OrderingFilter)
    filterset_fields = ("status", "training_ready", "format", "validation_for")
    search_fields = ("name", "original_filename")
    ordering_fields = ("created_at", "name", "size_bytes", "row_count", "status", "checked_at")
    ordering = ("-created_at", "id")
    lookup_value_regex = "[0-9a-fA-F-]{36}"

    def get_queryset(self) -> DatasetQuerySet:
        datasets = Dataset.objects.for_user(self.request.user).select_related("owner")
        return datasets.without_report() if self.action == "list" else datasets

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        return serializers.DatasetSerializer if self.action == "list" else serializers.DatasetDetailSerializer

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """Choose the upload handler before anything, the CSRF check included, reads the body: files go to disk only."""
        if request.method == "POST":
            request.upload_handlers = [UploadHandler(request)]
        return super().initialize_request(request, *args, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Authentication reads the body for the CSRF token, so a disk that fills up shows here.
        with refusals():
            super().initial(request, *args, **kwargs)

    @extend_schema(
        request={"multipart/form-data": serializers.NewDatasetSerializer},
        responses={201: serializers.DatasetDetailSerializer},
        summary="Upload a dataset",
    )
    def create(self, request: Request) -> Response:
        with refusals():
            given = self._given(serializers.NewDatasetSerializer)
            dataset = services.store_upload(
                self._person(),
                given["file"],
                name=given["name"],
                given_format=given["format"],
                validation_for=given["validation_for"],
            )
            with services.file_removed_on_failure(dataset):
                return self.once(lambda: self._detail(services.insert(dataset), status.HTTP_201_CREATED))

    @extend_schema(
        request=serializers.ImportSerializer,
        responses={201: serializers.DatasetDetailSerializer},
        summary="Use a file of the object store",
    )
    @action(detail=False, methods=["post"], url_path="import")
    def bring_in(self, request: Request) -> Response:
        with refusals():
            given = self._given(serializers.ImportSerializer)
            dataset = services.measured_object(
                self._person(),
                given["path"],
                name=given["name"],
                bucket=given["bucket"],
                given_format=given["format"],
                validation_for=given["validation_for"],
            )
            return self.once(lambda: self._detail(services.insert(dataset), status.HTTP_201_CREATED))

    @extend_schema(
        request=serializers.DatasetDetailSerializer,
        responses=serializers.DatasetDetailSerializer,
        summary="Rename, or say which dataset this one is held out for",
    )
    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        dataset = self.get_object()
        given = self.get_serializer(dataset, data=request.data, partial=True)
        with refusals():
            given.is_valid(raise_exception=True)
            if "name" in given.validated_data:
                services.rename(dataset, given.validated_data["name"])
            if "validation_for" in given.validated_data:
                services.set_validation_for(dataset, given.validated_data["validation_for"])
        return self._detail(dataset)

    @extend_schema(summary="Delete; 409 when a job uses it")
    def destroy(self, request: Request, pk: str | None = None) -> Response:
        with refusals():
            services.delete(self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: serializers.DatasetDetailSerializer}, summary="Check again")
    @action(detail=True, methods=["post"])
    def check(self, request: Request, pk: str | None = None) -> Response:
        with refusals():
            dataset = services.check_again(self.get_object())
        return self._detail(dataset, status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=serializers.LinkSerializer, summary="A signed link, valid for 24 hours")
    @action(detail=True, methods=["post"])
    def link(self, request: Request, pk: str | None = None) -> Response:
        url = services.link(self.get_object())
        return Response({"url": url, "expires_at": timezone.now() + services.LINK_LIFETIME})

    @extend_schema(
        parameters=[OpenApiParameter("offset", int), OpenApiParameter("limit", int)],
        responses=serializers.RowsSerializer,
        filters=False,
        summary="Rows as the model will see them",
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def rows(self, request: Request, pk: str | None = None) -> Response:
        dataset = self.get_object()
        query = serializers.RowsQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        try:
            return Response(preview.preview(dataset, **query.validated_data))
        except FileNotFoundError:
            raise NotFound("The file is no longer in the bucket. Upload it again.") from None
        except OSError as error:
            raise RefusedByService(services.store_down()) from error

    def once(self, work: Callable[[], Response]) -> Response:
        """Everything that a creation writes. The project may put it into a transaction with writing of its own."""
        return work()

    def _person(self) -> AbstractBaseUser:
        return cast(AbstractBaseUser, self.request.user)

    def _given(self, serializer_class: type[BaseSerializer[Any]]) -> dict[str, Any]:
        serializer = serializer_class(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def _detail(self, dataset: Dataset, code: int = status.HTTP_200_OK) -> Response:
        return Response(serializers.DatasetDetailSerializer(dataset, context=self.get_serializer_context()).data, code)
