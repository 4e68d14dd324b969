from __future__ import annotations

from rest_framework import serializers

from pipeline.api.serializers.strict import StrictSerializer, one_line


class TokenCreateSerializer(StrictSerializer):
    name = serializers.CharField(
        max_length=80, validators=[one_line], help_text="What will use it; for your eyes only."
    )


class TokenSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    hint = serializers.CharField(help_text="The last characters, to tell tokens apart.")
    created_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewTokenSerializer(TokenSerializer):
    token = serializers.CharField(help_text="Shown this once. Keep it where your program can read it.")


class MeSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    username = serializers.CharField()
    email = serializers.CharField()
    is_staff = serializers.BooleanField(help_text="May use the admin.")
    signed_in_with = serializers.ChoiceField(["session", "token"])
