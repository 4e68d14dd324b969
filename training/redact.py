"""Takes secrets out of text before it is written or sent anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
MIN_LENGTH = 6  # a shorter "secret" would hide ordinary words

# The part of a signed link that grants access, and what an Authorization header holds.
SIGNED = re.compile(
    r"(?i)([?&](?:signature|sig|token|x-amz-signature|x-amz-credential|x-amz-security-token)=)[^&\s\"'<>]+"
)
BEARER = re.compile(r"(?i)(bearer\s+)[\w.~+/=-]{6,}")


class Redactor:
    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # Longest first: a secret that contains another one must not be left half visible.
        self._secrets = sorted({s for s in secrets if s and len(s) >= MIN_LENGTH}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        if "=" in text:
            text = SIGNED.sub(rf"\1{HIDDEN}", text)
        if "earer" in text or "EARER" in text:
            text = BEARER.sub(rf"\1{HIDDEN}", text)
        return text
