"""One answer of an HTTP call, read completely, with the few things in it that matter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_SAID = 240
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True)
class Answer:
    status: int
    document: Any  # what the JSON says; None when it is none
    is_json: bool
    request_id: str = ""
    retry_after: float | None = None  # seconds

    @classmethod
    def read(cls, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        try:
            document, is_json = json.loads(body), True
        except (ValueError, RecursionError):
            document, is_json = None, False
        request_id = headers.get("x-request-id", "")[:120]
        return cls(status, document, is_json, request_id, _seconds(headers.get("Retry-After")))

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def said(self) -> str:
        """What the answer says to people, as one line that ends in a full stop; empty when it says nothing."""
        document = self.document if isinstance(self.document, dict) else {}
        parts = [document.get("detail") or document.get("message") or document.get("error") or document.get("title")]
        errors = document.get("errors")
        if isinstance(errors, list):
            parts += [one.get("message") if isinstance(one, dict) else one for one in errors[:3]]
        text = " ".join(" ".join(str(part).split()) for part in parts if isinstance(part, str))
        text = "".join(character for character in text if character.isprintable())[:MAX_SAID].rstrip()
        return f"{text.rstrip('.')}." if text else ""


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None
