"""One-time sign-in links, and the brake on guessed passwords."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from redis.exceptions import RedisError

SALT = "frontend.signin"
LINK_AGE = timedelta(minutes=30)
MAX_FAILURES = 10
FAILURE_WINDOW_SECONDS = 15 * 60


class LinkRefused(Exception):
    """The message is a sentence for people."""


class LinkUsed(LinkRefused):
    """Of no use to anybody but the person it signed in, who may follow it to `next_path`."""

    def __init__(self, user_id: str, next_path: str) -> None:
        super().__init__("This sign-in link has been used. Each one works once: ask for a new one.")
        self.user_id, self.next_path = user_id, next_path


def make_link(user: User, next_path: str = "/jobs/") -> str:
    """A path that signs `user` in once, within 30 minutes, and leads to `next_path` of this site.

    The signed text holds the user's last sign-in: using the link changes that row, so the database itself lets it work
    once, and any other sign-in of the same user ends it too.
    """
    token = signing.dumps({"user": str(user.pk), "last": _stamp(user.last_login), "next": next_path}, salt=SALT)
    return reverse("frontend:sign_in_once", args=[token])


def use_link(token: str) -> tuple[User, str]:
    """Return the user to sign in and where to go next. Raises LinkRefused, LinkUsed for one that had its day."""
    try:
        content: dict[str, Any] = signing.loads(token, salt=SALT, max_age=LINK_AGE)
    except signing.SignatureExpired:
        raise LinkRefused("This sign-in link is older than 30 minutes. Ask for a new one.") from None
    except signing.BadSignature:
        raise LinkRefused("This sign-in link is not complete. Copy it again, to its last character.") from None
    users = User.objects
    user = users.filter(pk=content["user"], is_active=True).first()
    if user is None:
        raise LinkRefused("The account of this sign-in link is not there any more.")
    used = LinkUsed(content["user"], content["next"])
    if _stamp(user.last_login) != content["last"]:
        raise used
    if not users.filter(pk=user.pk, last_login=user.last_login).update(last_login=timezone.now()):
        raise used
    user.backend = settings.AUTHENTICATION_BACKENDS[0]
    return user, content["next"]


def _stamp(at: Any) -> str:
    return at.isoformat() if at else ""


def too_many_failures(username: str, address: str) -> bool:
    """Ten wrong passwords for a name from one address close that pair for 15 minutes. Without the cache none is."""
    try:
        return int(cache.get(_key(username, address), 0)) >= MAX_FAILURES
    except RedisError:
        return False


def count_failure(username: str, address: str) -> None:
    key = _key(username, address)
    try:
        if not cache.add(key, 1, FAILURE_WINDOW_SECONDS):
            cache.incr(key)
    except ValueError:  # it expired between the two calls
        cache.set(key, 1, FAILURE_WINDOW_SECONDS)
    except RedisError:
        pass


def _key(username: str, address: str) -> str:
    return "signin-failures:" + hashlib.sha256(f"{username.lower()}\n{address}".encode()).hexdigest()
