"""Who calls the API: a person's session (handled by REST framework) or a program with a person's API token."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

from django.contrib.auth.models import User
from django.db.models import Q
from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from pipeline.api.throttling import note_wrong_token
from pipeline.models import ApiToken
from pipeline.models.access import JOB_TOKEN_PREFIX, token_hash

# One write a minute tells as much as one a request, and does not make every read of the API a write.
LAST_USED_EVERY = timedelta(minutes=1)


class ApiTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer stk_u_...`. Cookies are not looked at, so no CSRF token is wanted.

    Stands first in the list of authentications: its `WWW-Authenticate` makes REST framework answer 401 and not 403.
    """

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = value.strip()
        if given.startswith(JOB_TOKEN_PREFIX):
            raise AuthenticationFailed(
                "This is the token of a training program. The API wants an API token; make one in the settings.",
                "job_token",
            )
        token = ApiToken.objects.select_related("owner").filter(token_hash=token_hash(given)).first()
        if token is None:
            note_wrong_token(request)
            raise AuthenticationFailed("This API token is not known. Make one in the settings.", "unknown_token")
        if token.revoked_at is not None:
            raise AuthenticationFailed("This API token was revoked. Make a new one in the settings.", "revoked_token")
        if not token.owner.is_active:
            raise AuthenticationFailed("The account of this API token is closed.", "inactive_owner")
        _note_use(token)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="api"'


def person(request: Request) -> User:
    """Who asks; for views that nobody reaches without being somebody."""
    return cast(User, request.user)


def _note_use(token: ApiToken) -> None:
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - LAST_USED_EVERY)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=Now())
