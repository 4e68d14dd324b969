"""API tokens: made once, shown once, revoked for good."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models.functions import Now

from pipeline.models import ApiToken
from pipeline.models.access import API_TOKEN_PREFIX, new_token, token_hash
from pipeline.services.errors import Conflict

MAX_LIVE = 100
HINT_LENGTH = 4


def create_token(owner: AbstractBaseUser, name: str) -> tuple[ApiToken, str]:
    """Return the row and the token itself, which is not stored and cannot be shown again."""
    with transaction.atomic():
        # Locks the owner's row, so that requests side by side cannot pass the limit together.
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        if ApiToken.objects.filter(owner_id=owner.pk, revoked_at=None).count() >= MAX_LIVE:
            raise Conflict(
                f"You have {MAX_LIVE} API tokens. Revoke one that is no longer used.", code="too_many_tokens"
            )
        text = new_token(API_TOKEN_PREFIX)
        row = ApiToken.objects.create(
            owner_id=owner.pk, name=name, token_hash=token_hash(text), hint=text[-HINT_LENGTH:]
        )
    return row, text


def revoke_token(token_id: UUID) -> bool:
    """Whoever uses the token is refused from now on. Return False when it was revoked before."""
    return bool(ApiToken.objects.filter(pk=token_id, revoked_at=None).update(revoked_at=Now()))
