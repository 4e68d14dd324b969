"""One JSON post to an address that a person typed: guarded, brief, and its failures in sentences."""

from __future__ import annotations

import email.utils
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from notifications.transports.base import BadAddress, Checked, NotDelivered
from pipeline.providers import outside

SECONDS = 5.0  # for the whole of a call
MOST_BYTES = 65_536  # of an answer, which nobody reads
MAX_URL = 1000
MAX_RETRY_AFTER = 24 * 3600.0
USER_AGENT = "Stoker-Notifications/1"


def checked_url(where: str) -> Checked:
    """A web address that may be called from here, with its host as the hint: the rest often is a secret."""
    if len(where) > MAX_URL:
        raise BadAddress(f"The address must have at most {MAX_URL} characters.")
    try:
        outside.check_url(where)
    except outside.BadAddress as error:
        raise BadAddress(str(error)) from error
    return Checked(where, urlsplit(where).netloc.lower()[:254])


def post(
    where: str,
    body: Mapping[str, Any] | bytes,
    headers: Mapping[str, str] | None = None,
    *,
    final: Collection[int] = (),
) -> int:
    """Post JSON; return the status when it is a 2xx. Raise NotDelivered. The `final` statuses are not tried again."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    all_headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **(headers or {})}
    with outside.session(whole_seconds=SECONDS, most_bytes=MOST_BYTES) as session:
        try:
            answer = session.post(where, data=content, headers=all_headers, timeout=SECONDS, allow_redirects=False)
        except requests.exceptions.InvalidURL as error:  # the guard's own sentences name the host and nothing else
            raise NotDelivered(str(error), permanent=True) from None
        except requests.exceptions.SSLError:
            raise NotDelivered("The receiver's certificate is not valid.") from None
        except requests.exceptions.Timeout:
            raise NotDelivered(f"The receiver did not answer within {SECONDS:g} seconds.") from None
        except requests.exceptions.ContentDecodingError:
            raise NotDelivered(f"The receiver's answer is longer than {MOST_BYTES:,} bytes.") from None
        except requests.exceptions.RequestException as error:  # their texts repeat the address, which is a secret
            raise NotDelivered(_sentence(error)) from None
    return _judged(answer, final)


def _judged(answer: requests.Response, final: Collection[int]) -> int:
    status = answer.status_code
    if 200 <= status < 300:
        return status
    if 300 <= status < 400:
        raise NotDelivered(f"The receiver answered {status}, a redirect, which is not followed.", status=status)
    raise NotDelivered(
        f"The receiver answered {status}{_words(status)}.",
        status=status,
        permanent=status in final,
        gone=status == 410,
        retry_after=retry_after(answer.headers.get("Retry-After", "")),
    )


def _words(status: int) -> str:
    known = {401: ", it does not know this address", 404: ", there is nothing at this address"}
    known |= {403: ", it does not allow this", 410: ", it wants no more messages", 429: ", too many messages"}
    return known.get(status, "")


def _sentence(error: requests.exceptions.RequestException) -> str:
    text = str(error)
    if "NameResolutionError" in text or "Failed to resolve" in text:
        return "There is no host of that name now."
    if isinstance(error, requests.exceptions.ConnectionError) and "does not take connections" in text:
        return "The receiver takes no connections."
    return "The connection ended before an answer came."


def retry_after(text: str) -> float | None:
    """Seconds, from a header that holds seconds or a date; None when it holds neither. At most a day."""
    text = text.strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if seconds == seconds else None
