from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from datasets import services
from datasets.models import Dataset, Status


@admin.register(Dataset)
class DatasetAdmin(ModelAdmin):
    list_display = ("name", "owner", "shown_status", "format", "row_count", "size", "created_at")
    list_filter = ("status", "training_ready", "format", "storage_bucket")
    list_select_related = ("owner",)
    search_fields = ("name", "id", "sha256", "owner__username", "storage_path")
    date_hierarchy = "created_at"
    actions = ("check_again",)
    fields = (
        "name",
        "owner",
        "status",
        "error",
        "training_ready",
        "format",
        "given_format",
        "row_count",
        "total_training_pairs",
        "validation_for",
        "storage_bucket",
        "storage_path",
        "original_filename",
        "size_bytes",
        "sha256",
        "created_at",
        "checked_at",
        "next_check_at",
        "lease_until",
        "report",
    )
    readonly_fields = tuple(name for name in fields if name not in ("name", "given_format"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Datasets come by upload or import only: a row without a file would be of no use."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return super().get_queryset(request).defer("check_state")

    @display(
        description="Status",
        ordering="status",
        label={Status.READY: "success", Status.REJECTED: "danger", Status.CHECKING: "info", Status.UPLOADED: "info"},
    )
    def shown_status(self, dataset: Dataset) -> tuple[str, str]:
        return dataset.status, dataset.get_status_display()

    @display(description="Size", ordering="size_bytes")
    def size(self, dataset: Dataset) -> str:
        return filesizeformat(dataset.size_bytes)

    @action(description="Check again")
    def check_again(self, request: HttpRequest, queryset: QuerySet[Dataset]) -> None:
        started = 0
        for dataset in queryset.select_related("owner"):
            try:
                services.check_again(dataset)
                started += 1
            except services.Refused as refused:
                self.message_user(request, f"{dataset.name}: {refused.message}", messages.ERROR)
        if started:
            self.message_user(request, f"{started} will be checked again.", messages.SUCCESS)
