"""The log of a job: its lines, and where in it something is found."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from pipeline.api.pagination import LARGEST

STREAMS = ("stdout", "stderr", "program")
MOST_ATTEMPTS = 32767


def _position(help_text: str, *, least: int = 0, most: int = LARGEST) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=least, max_value=most, required=False, help_text=help_text)


class LogFilter(serializers.Serializer):
    """Which lines are meant."""

    attempt = _position("Only lines of this attempt.", least=1, most=MOST_ATTEMPTS)
    stream = serializers.ChoiceField(STREAMS, required=False, help_text="Only lines of this stream.")
    q = serializers.CharField(
        max_length=200, allow_blank=True, trim_whitespace=False, default="", help_text="Only lines that hold this text."
    )
    problems = serializers.BooleanField(default=False, help_text="Only lines that look like an error.")


class LogWindow(LogFilter):
    after_n = _position(
        "The lines after this one of `after_attempt`; 0 begins at the first. Left out: the newest lines."
    )
    after_attempt = _position("Goes with `after_n`; left out: `attempt`, or else 1.", least=1, most=MOST_ATTEMPTS)
    before_n = _position("The lines before this one of `before_attempt`.")
    before_attempt = _position("Goes with `before_n`; left out: `attempt`, or else 1.", least=1, most=MOST_ATTEMPTS)
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=500)
    download = serializers.BooleanField(default=False, help_text="All lines as a text file.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "after_n" in attrs and "before_n" in attrs:
            raise serializers.ValidationError({"before_n": ["Ask for the lines after one or before one, not both."]})
        return attrs


class LogLineSerializer(serializers.Serializer):
    attempt = serializers.IntegerField()
    n = serializers.IntegerField()
    at = serializers.DateTimeField()
    stream = serializers.CharField()
    text = serializers.CharField()


class LogCursorSerializer(serializers.Serializer):
    """Where to go on, in the direction in which was read."""

    after_attempt = serializers.IntegerField(required=False)
    after_n = serializers.IntegerField(required=False)
    before_attempt = serializers.IntegerField(required=False)
    before_n = serializers.IntegerField(required=False)


class LogPageSerializer(serializers.Serializer):
    results = LogLineSerializer(many=True, help_text="Oldest first.")
    next = LogCursorSerializer(
        allow_null=True, help_text="Query parameters of the next request; null: nothing more now."
    )


class LogPlaceSerializer(serializers.Serializer):
    attempt = serializers.IntegerField()
    n = serializers.IntegerField()


class LogPlacesSerializer(serializers.Serializer):
    results = LogPlaceSerializer(many=True, help_text="Oldest first.")
    more = serializers.BooleanField(help_text="There are further ones behind the last of these.")
