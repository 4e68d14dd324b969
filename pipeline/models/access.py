from __future__ import annotations

import hashlib
import secrets
import uuid

from django.conf import settings
from django.db import models

API_TOKEN_PREFIX = "stk_u_"  # noqa: S105
JOB_TOKEN_PREFIX = "stk_j_"  # noqa: S105
BOOTSTRAP_TOKEN_PREFIX = "stk_b_"  # noqa: S105
CALLBACK_TOKEN_PREFIX = "stk_c_"  # noqa: S105


def new_token(prefix: str) -> str:
    """A random token of 256 bits. The prefix lets log redaction and secret scanners recognise it."""
    return prefix + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """SHA-256 in hex. A plain hash is enough for random 256-bit values, and lets the database look one up."""
    return hashlib.sha256(token.encode()).hexdigest()


class ApiToken(models.Model):
    """Lets a person's programs use the API. The token itself is shown once and never stored."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    token_hash = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=12, editable=False, help_text="The last characters, to tell tokens apart.")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "API token"

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"
