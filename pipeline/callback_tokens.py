"""The address at which a provider may call back about one attempt. Whoever knows it may: it holds a token.

The token is computed from the attempt and the server's key, so that a request that is repeated holds the same address,
and nothing of it is stored. It is good until the attempt ends.
"""

from __future__ import annotations

import base64
import hmac
import re
from uuid import UUID

from django.conf import settings
from django.utils.crypto import salted_hmac

from pipeline.models import Attempt
from pipeline.models.access import CALLBACK_TOKEN_PREFIX

_TOKEN = re.compile(re.escape(CALLBACK_TOKEN_PREFIX) + r"([0-9a-f]{32})-([\w-]{43})", re.ASCII)


def callback_url(attempt: Attempt) -> str:
    token = f"{CALLBACK_TOKEN_PREFIX}{attempt.pk.hex}-{_signature(attempt.pk.hex, settings.SECRET_KEY)}"
    return f"{settings.STOKER_PUBLIC_URL}/api/training/callbacks/{token}"


def attempt_of(token: str) -> Attempt | None:
    """The attempt a token was made for; None for every other text."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not any(hmac.compare_digest(found[2], _signature(found[1], key)) for key in keys):
        return None
    return Attempt.objects.filter(pk=UUID(found[1])).first()


def _signature(text: str, key: str) -> str:
    digest = salted_hmac("pipeline.callbacks", text, secret=key, algorithm="sha256").digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
