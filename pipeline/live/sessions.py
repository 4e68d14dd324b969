"""Who a socket belongs to, by its session cookie; asked again every minute, because sessions end while sockets live."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.models import AbstractBaseUser
from django.http.cookie import parse_cookie
from django.utils.crypto import constant_time_compare


def session_key_of(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    for name, value in headers:
        if name == b"cookie":
            key = parse_cookie(value.decode("latin1")).get(settings.SESSION_COOKIE_NAME)
            if key:
                return key
    return None


def identify(session_key: str | None) -> AbstractBaseUser | None:
    """The active user of a valid session, or None. Only reads.

    Django's own way deletes and renews sessions; a renewed one has a new key, which only an HTTP answer can hand over.
    """
    if not session_key or not session_key.isprintable():
        return None
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key).load()
    backend_path = session.get(BACKEND_SESSION_KEY)
    if SESSION_KEY not in session or backend_path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: Any = load_backend(backend_path).get_user(get_user_model()._meta.pk.to_python(session[SESSION_KEY]))
    if user is None or not user.is_active:
        return None
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if not any(constant_time_compare(session.get(HASH_SESSION_KEY, ""), known) for known in hashes):
        return None
    return user
