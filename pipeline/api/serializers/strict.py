"""What all request bodies have in common: a name that means nothing is refused, so that a typo cannot pass unseen."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.fields import empty

MAX_SHOWN = 60


class StrictSerializer(serializers.Serializer):
    # No docstring: the API's document would show it for every request without one of its own.

    # What an answer holds and a request may not set.
    set_by_server: ClassVar[frozenset[str]] = frozenset()

    def run_validation(self, data: Any = empty) -> Any:
        errors = self._unknown(data) if isinstance(data, Mapping) else {}
        try:
            value = super().run_validation(data)
        except serializers.ValidationError as error:
            if errors and isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **errors}) from error
            raise
        if errors:
            raise serializers.ValidationError(errors)
        return value

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, Any]:
        known = {name for name, field in self.fields.items() if not field.read_only}
        return {
            name[:MAX_SHOWN]: [serializers.ErrorDetail(self._sentence(name, known), "unknown_field")]
            for name in list(data)
            if name not in known
        }

    def _sentence(self, name: str, known: set[str]) -> str:
        shown = name if len(name) <= MAX_SHOWN else name[:MAX_SHOWN] + "…"
        if name in self.set_by_server:
            return f"“{shown}” is set by the server. Leave it out."
        close = difflib.get_close_matches(name[:MAX_SHOWN], known, n=1)
        hint = f"Did you mean “{close[0]}”?" if close else f"Known: {', '.join(sorted(known))}."
        return f"“{shown}” is not known here. {hint}"


def one_line(value: str) -> None:
    """Refuse control characters in names: they end up in headers, file names and messages."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise serializers.ValidationError("Leave out line breaks and other control characters.", "control_character")
