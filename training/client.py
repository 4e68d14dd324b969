"""HTTP to the server, with nothing but the standard library. Every answer is sorted into one of four kinds.

A wrong or missing network is `LATER`, never an exception: callers only decide how long they go on trying.
"""

from __future__ import annotations

import http.client
import json
import math
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

MAX_ANSWER = 4 * 1024 * 1024
OVER_STATUSES = (401, 404, 410)
LATER_STATUSES = (408, 421, 425, 429)
LONGEST_RETRY_AFTER = 60.0


class Kind(Enum):
    OK = "ok"
    LATER = "later"  # no network, 5xx, 429: the same request again after a while
    OVER = "over"  # 401, 404, 410 from our server: this attempt is over
    REFUSED = "refused"  # another 4xx: the same request will never be accepted


@dataclass(frozen=True)
class Answer:
    kind: Kind
    status: int = 0  # 0: no answer came
    body: dict[str, Any] = field(default_factory=dict)
    retry_after: float | None = None  # seconds
    error: str = ""

    @property
    def said(self) -> str:
        """What to tell a person about this answer."""
        detail = self.body.get("detail") or self.body.get("title") or self.error
        return f"{self.status} {detail}".strip() if self.status else str(detail or "no answer")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another address, or silently turn a POST into a GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Client:
    def __init__(self, api_url: str, job_id: str, token: str, timeout: float = 20.0) -> None:
        self.base = f"{api_url}/{job_id}/"
        self._token = token
        self._timeout = timeout
        self._opener = urllib.request.build_opener(NoRedirect)

    def get(self, path: str) -> Answer:
        return self._send("GET", path, None)

    def post(self, path: str, document: Any) -> Answer:
        return self.post_bytes(path, json.dumps(document).encode())

    def post_bytes(self, path: str, body: bytes) -> Answer:
        return self._send("POST", path, body)

    def put_file(self, url: str, path: Path, headers: dict[str, str], timeout: float = 120.0) -> Answer:
        """Upload a file to a signed link. The link is the permission: the token is not sent along."""
        size = path.stat().st_size
        with path.open("rb") as stream:
            request = urllib.request.Request(self.absolute(url), data=stream, method="PUT", headers=dict(headers))  # noqa: S310 - http(s) or refused below
            request.add_unredirected_header("Content-Length", str(size))
            if not any(name.lower() == "content-type" for name in headers):
                request.add_unredirected_header("Content-Type", "application/octet-stream")
            return self._open(request, timeout)

    def absolute(self, url: str) -> str:
        return urljoin(self.base, url)

    def _send(self, method: str, path: str, body: bytes | None) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.base + path, body, headers, method=method)  # noqa: S310 - as put_file
        return self._open(request, self._timeout)

    def _open(self, request: urllib.request.Request, timeout: float) -> Answer:
        if request.type not in ("http", "https"):
            return Answer(Kind.REFUSED, error=f"{request.type} is not a kind of address that this program opens")
        try:
            with self._opener.open(request, timeout=timeout) as response:
                return Answer(Kind.OK, response.status, _document(response.read(MAX_ANSWER)))
        except urllib.error.HTTPError as error:
            with error:
                return _sort(error)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(Kind.LATER, error=_cause(error))


def _sort(error: urllib.error.HTTPError) -> Answer:
    try:
        raw = error.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException):
        raw = b""
    body = _document(raw)
    kind = Kind.REFUSED
    if error.code >= 500 or error.code < 400 or error.code in LATER_STATUSES:
        kind = Kind.LATER
    elif error.code in OVER_STATUSES:
        # A proxy in front of a restarting server also says 404, in HTML. Only our server's JSON may end a run.
        kind = Kind.OVER if body else Kind.LATER
    return Answer(kind, error.code, body, _retry_after(error.headers.get("Retry-After")), str(error.reason))


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return f"{type(reason).__name__}: {reason}" if isinstance(reason, Exception) else str(reason)


def backoff(first: float = 0.5, longest: float = 30.0) -> Iterator[float]:
    """Seconds to wait before each new try: doubling, with jitter so that many programs do not return at once."""
    wait = first
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads tries, hides nothing
        wait = min(wait * 2, longest)


def pause(seconds: float, give_up: Callable[[], bool]) -> None:
    """Wait, but no longer than it takes to notice that waiting has no point any more."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not give_up():
        time.sleep(min(left, 0.1))
