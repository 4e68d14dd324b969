from __future__ import annotations

from typing import Any

from rest_framework import serializers

from notifications.models import Kind, Notification, Priority
from notifications.topics import shown


class NotificationSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    type = serializers.ChoiceField(Kind.choices)
    priority = serializers.ChoiceField(Priority.choices)
    title = serializers.CharField()
    message = serializers.CharField()
    action_url = serializers.CharField(help_text="A path of this product; blank when what it was about is deleted.")
    metadata = serializers.DictField()
    job = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True)
    read = serializers.BooleanField()

    def to_representation(self, instance: Notification) -> dict[str, Any]:
        return shown(instance)


class UnreadSerializer(serializers.Serializer):
    unread = serializers.IntegerField()
