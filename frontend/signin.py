"""One-time sign-in links, and the brake on guessed passwords."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from pipeline.throttles import Limit, Try, Without, address_of, forget, take

SALT = "frontend.signin"
LINK_AGE = timedelta(minutes=30)
FOR_ONE_NAME = Limit("sign-in", 10, 15 * 60, Without.DATABASE)  # from one address
FROM_ONE_ADDRESS = Limit("sign-in-address", 100, 15 * 60, Without.DATABASE)  # an office may share one


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


def brake(request: HttpRequest) -> int:
    """Count a try to sign in with a password before the password is looked at. Return the seconds to wait, or 0.

    Where Redis is away PostgreSQL counts: without a count nobody is let in.
    """
    return take(_pair(request), Try(FROM_ONE_ADDRESS, address_of(request)))


def release(request: HttpRequest) -> None:
    """The password was right: the name and this address begin at nothing. The address itself goes on counting, or an
    account of one's own would be enough to guess the passwords of others without end."""
    forget(_pair(request))


def _pair(request: HttpRequest) -> Try:
    name = request.POST.get("username", "")[:150].lower()
    return Try(FOR_ONE_NAME, f"{name}\n{address_of(request)}")


def wait_sentence(seconds: int) -> str:
    minutes = -(-seconds // 60)
    return f"Too many tries to sign in. Wait {minutes} minute{'s' * (minutes != 1)}, then try again."
