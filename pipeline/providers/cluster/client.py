"""The wire to a cluster: three calls with a Bearer key, each bounded in time and size. Nothing is tried twice.

What comes back is a JSON object, or one of the errors of `pipeline.providers.base`.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import quote

import requests
from django.conf import settings
from requests.exceptions import ConnectionError as NoConnection
from requests.exceptions import ConnectTimeout, InvalidURL, RequestException
from urllib3.exceptions import NewConnectionError

from pipeline.providers import outside
from pipeline.providers.base import AuthError, NoCapacity, NoFunds, NotSent, Refused, Unavailable
from pipeline.providers.cluster.answers import plain

SUBMIT_TIMEOUT = (5.0, 25.0)  # seconds to connect, and to wait for a piece of the answer: a short wait makes unknowns
LOOK_TIMEOUT = (3.0, 8.0)
MAX_RETRY_AFTER = 3600.0
EXTERNAL_ID = re.compile(r"(?=.*[A-Za-z0-9])(?!.*\.\.)[A-Za-z0-9._:@=+~/-]{1,200}")
# Answers that say for sure that a request was not taken.
_REFUSALS = frozenset(range(400, 500)) - {401, 402, 403, 404, 405, 408, 409, 425, 429}


class Client:
    """One account at one cluster, for as long as one look or one order takes: its connection is kept between calls."""

    def __init__(self, base_url: str, key: str) -> None:
        """An empty `base_url` is the operator's own cluster. Raise AuthError when there is none, or no usable key."""
        self.base_url = base_url.rstrip("/") or settings.GPU_CLUSTER_API_URL
        if not self.base_url:
            raise AuthError("It is not known where the cluster is. Put its address into the account.")
        if not re.fullmatch(r"[!-~]+", key):
            raise AuthError("The cluster's key is empty or holds characters that no key can have. Enter it again.")
        self._key = key
        # The operator's own address may be inside the network; one that a person typed only where the operator says so.
        own = [settings.GPU_CLUSTER_API_URL] if self.base_url == settings.GPU_CLUSTER_API_URL else []
        self._session = outside.session(allow_private=[*settings.STOKER_PRIVATE_URLS, *own])

    def close(self) -> None:
        self._session.close()

    def submit(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The cluster's answer, which names the job. Raise as `Provider.create` does."""
        headers = {"Idempotency-Key": name}
        response = self._send("POST", "submit", SUBMIT_TIMEOUT, json=dict(body), headers=headers)
        status = response.status_code
        if status == 409 and "external_job_id" in (answer := self._object(response) or {}):
            return answer  # it has a job of this name already, and says which
        if status == 402:
            raise NoFunds(self._says(response, "The account at the cluster has too little money left"), status=402)
        if status == 429:
            sentence = self._says(response, "The cluster takes no more jobs at the moment")
            raise NoCapacity(sentence, status=429, retry_after=_retry_after(response))
        if status in (404, 405) or 300 <= status < 400:
            raise Refused(self._not_here(response), status=status)
        if status in _REFUSALS:
            raise Refused(self._says(response, "The cluster refused the job"), status=status)
        return self._answer(response)

    def status(self, external_id: str) -> dict[str, Any] | None:
        """What the cluster says about a job; None when it says that it has none of this id."""
        response = self._send("GET", f"status/{_quoted(external_id)}", LOOK_TIMEOUT)
        return None if self._knows_no_such_job(response) else self._answer(response)

    def cancel(self, external_id: str) -> None:
        """Order a job's end; one that the cluster does not know is fine."""
        response = self._send("POST", f"cancel/{_quoted(external_id)}", LOOK_TIMEOUT, json={})
        if not self._knows_no_such_job(response) and not 200 <= response.status_code < 300:
            self._unusable(response)

    def _knows_no_such_job(self, response: requests.Response) -> bool:
        """A 404 counts only with a JSON object: a page in HTML comes from something that is no cluster."""
        return response.status_code == 404 and self._object(response) is not None

    def _send(self, method: str, path: str, timeout: tuple[float, float], **kwargs: Any) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self.base_url}/training/{path}",
                timeout=timeout,
                allow_redirects=False,
                auth=self._sign,
                **kwargs,
            )
        except InvalidURL as error:
            raise AuthError(f"The cluster's address cannot be called. {error}") from None
        except (NoConnection, ConnectTimeout) as error:
            kind = NotSent if isinstance(error, ConnectTimeout) or _never_connected(error) else Unavailable
            raise kind(f"The cluster at {self.base_url} cannot be reached{_why(error)}.") from None
        except (RequestException, ValueError) as error:
            raise Unavailable(f"The cluster at {self.base_url} gave no usable answer{_why(error)}.") from None

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        request.headers["Accept"] = "application/json"
        request.headers["User-Agent"] = "stoker"
        return request

    def _answer(self, response: requests.Response) -> dict[str, Any]:
        if not 200 <= response.status_code < 300:
            self._unusable(response)
        answer = self._object(response)
        if answer is None:
            raise Unavailable(
                f"The cluster at {self.base_url} answered with something that is no JSON object.",
                status=response.status_code,
                request_id=_request_id(response),
            )
        return answer

    def _unusable(self, response: requests.Response) -> NoReturn:
        status, request_id = response.status_code, _request_id(response)
        if status == 401:
            sentence = "The cluster refused the key. Put a valid one into the account."
            raise AuthError(sentence, status=status, request_id=request_id)
        if status == 403:
            sentence = self._says(response, "The cluster's key may not do this")
            raise AuthError(sentence, status=status, request_id=request_id)
        if status in (404, 405) or 300 <= status < 400:
            raise Unavailable(self._not_here(response), status=status, request_id=request_id)
        sentence = self._says(response, f"The cluster answered with an error ({status})")
        raise Unavailable(sentence, status=status, request_id=request_id, retry_after=_retry_after(response))

    def _not_here(self, response: requests.Response) -> str:
        what = "sent us elsewhere" if response.status_code < 400 else "knows no such address"
        return (
            f"The server at {self.base_url} {what} ({response.status_code}), so it is not the cluster's address. "
            "Check it in the account."
        )

    def _says(self, response: requests.Response, sentence: str) -> str:
        """The sentence with the cluster's own words, where it has some."""
        answer = self._object(response) or {}
        words = next((answer[key] for key in ("detail", "error", "message") if answer.get(key)), "")
        said = plain(words if isinstance(words, str) else json.dumps(words), 300)
        return f"{sentence}: {said.rstrip('.')}." if said else f"{sentence}."

    @staticmethod
    def _object(response: requests.Response) -> dict[str, Any] | None:
        try:
            answer = json.loads(response.content)
        except (ValueError, RecursionError):
            return None
        return answer if isinstance(answer, dict) else None


def external_id_of(answer: Mapping[str, Any]) -> str:
    """The id the cluster gave a job. Raise Unavailable when there is none: a job may exist all the same."""
    told = answer.get("external_job_id")
    text = str(told) if isinstance(told, str | int) and not isinstance(told, bool) else ""
    if not EXTERNAL_ID.fullmatch(text):
        raise Unavailable("The cluster's answer names no usable external_job_id, so it is not known which job it made.")
    return text


def _quoted(external_id: str) -> str:
    if not EXTERNAL_ID.fullmatch(external_id):
        raise Unavailable(f"“{plain(external_id, 60)}” cannot be the id of a job at a cluster.")
    return quote(external_id, safe="")


def _never_connected(error: NoConnection) -> bool:
    """Whether it failed before anything of the request was sent: no connection, or one with the wrong certificate."""
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    inner = getattr(reason, "__context__", None)
    return isinstance(reason, NewConnectionError) or isinstance(inner, ssl.SSLCertVerificationError)


def _why(error: Exception) -> str:
    """A few words on what went wrong. Never the error's own text: it may hold an address with a signature."""
    names = {
        "ConnectTimeout": "no connection in time",
        "ReadTimeout": "no answer in time",
        "SSLError": "its certificate is not valid",
        "ContentDecodingError": "the answer is too long or damaged",
        "ChunkedEncodingError": "the answer broke off",
    }
    words = names.get(type(error).__name__, "")
    return f": {words}" if words else ""


def _request_id(response: requests.Response) -> str:
    return plain(response.headers.get("X-Request-Id", ""), 120)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds to wait, whichever of its two forms the header has; None when it has none of them."""
    told = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(told) if told.isdigit() else (parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 1.0), MAX_RETRY_AFTER)
