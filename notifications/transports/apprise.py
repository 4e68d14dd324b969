"""Everything else, by Apprise: one address format for a hundred services.

Apprise makes its own connections, past the guard of `pipeline.providers.outside`. So only services are taken whose
hosts are fixed in Apprise; an operator may allow more with STOKER_APPRISE_SCHEMES. It is imported when first used:
its hundred modules would cost every process a third of a second and some megabytes.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

from django.conf import settings

from notifications.transports.base import Address, BadAddress, Checked, Message, NotDelivered

# Services whose hosts no address can change. A test compares what Apprise calls with these.
FIXED = frozenset(
    {
        "brevo", "clicksend", "dingtalk", "feishu", "flock", "gchat", "groupme", "ifttt", "ilert", "incidentio", "join",
        "lark", "line", "msgbird", "opsgenie", "pagerduty", "pagertree", "pbul", "plivo", "postmark", "pover", "prowl",
        "pushy", "resend", "sendgrid", "signl4", "simplepush", "spike", "splunk", "spush", "squadcast", "telnyx",
        "tgram", "threema", "twilio", "twist", "victorops", "vonage", "webex", "wecombot", "wxteams",
    }
)  # fmt: skip
MAX_ADDRESS = 1000
SECRET_LENGTH = 6  # pieces of an address from this length on are blotted out of what a service says
SECONDS = 5.0


class Apprise:
    signs: ClassVar[bool] = False

    def check(self, where: str) -> Checked:
        scheme = _scheme(where)
        if len(where) > MAX_ADDRESS or not where.isprintable():
            raise BadAddress(f"The address must be one line of at most {MAX_ADDRESS} characters.")
        if _service(where) is None:
            raise BadAddress(
                f"Apprise cannot read this as an address of {scheme}://. Its pages at appriseit.com show how it looks."
            )
        return Checked(where, f"{scheme}://…")

    def send(self, address: Address, message: Message) -> None:
        try:
            _scheme(address.where)
        except BadAddress as error:  # allowed when it was saved, and not any more
            raise NotDelivered(str(error), permanent=True) from None
        service = _service(address.where)
        if service is None:
            raise NotDelivered("Apprise cannot read this address any more.", permanent=True)
        text = "\n".join(part for part in (message.text, message.url) if part)
        with _heard() as said:
            done = service.notify(title=message.title, body=text, notify_type=_kind(message.priority))
        if not done:
            raise NotDelivered(_why(said, address.where))


def allowed() -> list[str]:
    return sorted(FIXED | set(settings.STOKER_APPRISE_SCHEMES))


def _scheme(where: str) -> str:
    scheme, mark, _ = where.partition("://")
    scheme = scheme.strip().lower()
    if not mark or not re.fullmatch(r"[a-z0-9]+", scheme):
        raise BadAddress("This is not an address of Apprise. It looks like tgram://bot-token/chat-id.")
    if scheme not in allowed():
        raise BadAddress(
            f"{scheme}:// is not among the services that may be called from here: {', '.join(allowed())}. "
            "An operator can allow more with STOKER_APPRISE_SCHEMES."
        )
    return scheme


def _service(where: str) -> Any:
    """Apprise's own object for an address, or None. What an address may ask of connections in general is overruled."""
    service = _library().Apprise.instantiate(where, asset=_asset())
    if service is not None:
        service.verify_certificate, service.redirects = True, False
        service.socket_connect_timeout = service.socket_read_timeout = SECONDS
    return service


@cache
def _library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of its modules use what is deprecated, and would say so in our log
        import apprise
        from apprise.plugins import N_MGR

        N_MGR.load_modules()
    return apprise


@cache
def _asset() -> Any:
    return _library().AppriseAsset(
        app_id="Stoker",
        app_desc="Stoker",
        app_url=settings.STOKER_PUBLIC_URL,
        async_mode=False,
        secure_logging=True,
        http_redirects=False,
        storage_mode=_library().PersistentStoreMode.MEMORY,
        plugin_paths=[],
    )


def _kind(priority: str) -> str:
    return "warning" if priority == "high" else "info"


class _Ear(logging.Handler):
    """Hears what Apprise logs in this thread: it answers yes or no, and only its log says why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.said.append(record.getMessage())


@contextmanager
def _heard() -> Iterator[list[str]]:
    ear, logger = _Ear(), logging.getLogger("apprise")
    logger.addHandler(ear)
    try:
        yield ear.said
    finally:
        logger.removeHandler(ear)


def _why(said: list[str], where: str) -> str:
    text = " ".join(said[-1].split()) if said else "the service did not take the message"
    for piece in sorted(re.split(r"[/:@?&=#,+]+", where), key=len, reverse=True):
        if len(piece) >= SECRET_LENGTH:
            text = text.replace(piece, "[hidden]")
    return f"Apprise says: {text}"[:290].rstrip(".") + "."
