from __future__ import annotations

from typing import Any

from rest_framework import serializers

from datasets.models import Dataset, DatasetQuerySet, Format


class OwnDatasets(serializers.PrimaryKeyRelatedField):
    """A dataset of the person who asks; to anybody else's the answer is that it does not exist."""

    default_error_messages = {"does_not_exist": "There is no such dataset.", "incorrect_type": "Give a dataset's id."}

    def get_queryset(self) -> DatasetQuerySet:
        return Dataset.objects.for_user(self.context["request"].user).without_report()


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """A dataset in a list."""

    status_label = serializers.CharField(source="get_status_display", read_only=True)
    format_label = serializers.CharField(source="get_format_display", read_only=True)
    validation_for: Any = OwnDatasets(allow_null=True, required=False, pk_field=serializers.UUIDField())

    class Meta:
        model = Dataset
        fields = (
            "id",
            "name",
            "status",
            "status_label",
            "training_ready",
            "error",
            "format",
            "format_label",
            "row_count",
            "total_training_pairs",
            "size_bytes",
            "sha256",
            "storage_bucket",
            "storage_path",
            "original_filename",
            "validation_for",
            "created_at",
            "checked_at",
        )
        read_only_fields = tuple(name for name in fields if name not in ("name", "validation_for"))


class DatasetDetailSerializer(DatasetSerializer):
    """A dataset with its report; while it is being checked the report has `progress` only."""

    report = serializers.JSONField(read_only=True)

    class Meta(DatasetSerializer.Meta):
        fields = (*DatasetSerializer.Meta.fields, "report")  # type: ignore[assignment]
        read_only_fields = (*DatasetSerializer.Meta.read_only_fields, "report")


class NewDatasetSerializer(serializers.Serializer[Dataset]):
    """What comes with an upload. A missing name is taken from the file's, a missing format is found by the check."""

    file = serializers.FileField(
        allow_empty_file=True, error_messages={"required": "Choose a file.", "invalid": "Send the file as multipart."}
    )
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)
    format = serializers.ChoiceField(Format.choices, required=False, allow_blank=True, default="")
    validation_for = OwnDatasets(required=False, allow_null=True, default=None, pk_field=serializers.UUIDField())


class ImportSerializer(serializers.Serializer[Dataset]):
    bucket = serializers.CharField(required=False, default="training-files")
    path = serializers.CharField(
        max_length=500,
        error_messages=dict.fromkeys(("required", "blank"), "Give the path of the file in the bucket."),
    )
    name = serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)
    format = serializers.ChoiceField(Format.choices, required=False, allow_blank=True, default="")
    validation_for = OwnDatasets(required=False, allow_null=True, default=None, pk_field=serializers.UUIDField())


class RowsQuerySerializer(serializers.Serializer[Any]):
    offset = serializers.IntegerField(min_value=0, max_value=10**12, default=0, help_text="Lines to skip.")
    limit = serializers.IntegerField(min_value=1, max_value=100, default=20, help_text="Lines to read.")


class RowProblemSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField()
    column = serializers.IntegerField(allow_null=True)


class TurnSerializer(serializers.Serializer[Any]):
    role = serializers.CharField()
    content = serializers.CharField()
    tool_calls = serializers.JSONField(required=False)
    truncated = serializers.BooleanField(required=False)


class RowSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField()
    turns = TurnSerializer(many=True)
    problems = RowProblemSerializer(many=True)


class RowsSerializer(serializers.Serializer[Any]):
    """Lines of the file as the model will see them."""

    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    lines = serializers.IntegerField(allow_null=True, help_text="Of the whole file; null before its check.")
    next_offset = serializers.IntegerField(allow_null=True, help_text="Null at the end of the file.")
    rows = RowSerializer(many=True)


class LinkSerializer(serializers.Serializer[Any]):
    url = serializers.URLField()
    expires_at = serializers.DateTimeField()
