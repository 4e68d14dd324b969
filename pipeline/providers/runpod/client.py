"""The wire to RunPod: REST v2, and one question of the older GraphQL interface.

What may be asked twice without harm is asked again after a passing fault, within a bound. A request for a pod is not:
an answer that got lost may have made one. The key is in the header of each request and in nothing that is shown.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
from django.conf import settings
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from pipeline.providers.base import NotSent, Unavailable
from pipeline.providers.runpod import errors
from pipeline.providers.runpod.answers import Answer

USER_AGENT = "stoker/0.1 (fine-tuning jobs)"
CONNECT_SECONDS, READ_SECONDS, CREATE_SECONDS = 5.0, 15.0, 30.0
WHOLE_SECONDS = 20.0  # for one question with all its repeats
TRIES = 3
PAUSES = (0.3, 1.0)
SHORT_WAIT = 3.0  # a wait the server asks for that is shorter than this is waited for on the spot
MAX_BYTES = 64 * 1024 * 1024
PAGE = 500
MAX_PAGES = 200
PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Listing:
    pods: list[dict[str, Any]]
    readable: bool  # False: some entries were no pods, so what is missing here may exist


class Client:
    """One account. Every method raises the errors of `pipeline.providers.base`."""

    def __init__(self, key: str) -> None:
        self._base: str = settings.RUNPOD_API_URL
        self._session = requests.Session()
        self._session.headers["User-Agent"] = USER_AGENT
        # As an `auth` object, because a .netrc of this machine would replace a plain header.
        self._session.auth = _Bearer(key)

    def pods(self) -> Listing:
        """All pods of the account, page by page."""
        pods: dict[str, dict[str, Any]] = {}
        readable, cursor = True, ""
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", "/pods", params={"limit": PAGE} | ({"cursor": cursor} if cursor else {}))
            document = answer.document if isinstance(answer.document, dict) else {}
            listed = document.get("pods")
            if not isinstance(listed, list):
                raise errors.garbled(answer, "to a list of pods")
            for pod in listed:
                if _has_id(pod):
                    pods.setdefault(pod["id"], pod)
                else:
                    readable = False
            pagination = document.get("pagination")
            if not isinstance(pagination, dict) or not pagination.get("hasNextPage"):
                return Listing(list(pods.values()), readable)
            following = pagination.get("nextCursor")
            if not isinstance(following, str) or not following or following == cursor:
                raise errors.garbled(answer, "names no next page, though there is one: the list of pods")
            cursor = following
        raise Unavailable(f"RunPod lists more than {MAX_PAGES * PAGE} pods, which cannot be.")

    def pod(self, pod_id: str) -> dict[str, Any] | None:
        """None when RunPod says that there is no such pod."""
        answer = self._ask("GET", _pod_path(pod_id), fine=(404,))
        if answer.status == 404:
            if not answer.is_json:
                raise errors.of_other(answer)  # a proxy's page, not the API's word
            return None
        if not _has_id(answer.document) or answer.document["id"] != pod_id:
            raise errors.garbled(answer, "about one pod")
        found: dict[str, Any] = answer.document
        return found

    def create_pod(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a pod, once. After Unavailable nobody knows whether there is one; NotSent means that there is not."""
        for patient in (True, False):
            answer = self._send("POST", f"{self._base}/pods", json=body, seconds=CREATE_SECONDS)
            if answer.ok:
                if not _has_id(answer.document):
                    raise errors.garbled(answer, "to the request for a machine")
                made: dict[str, Any] = answer.document
                return made
            # Only this answer says that the request was not even looked at.
            if answer.status != 429 or not patient or not 0 < (answer.retry_after or 0) <= SHORT_WAIT:
                break
            time.sleep(answer.retry_after or 0)
        raise errors.of_create(answer)

    def delete_pod(self, pod_id: str) -> bool:
        """Order the end of a pod. False when RunPod says that there is none of that id."""
        answer = self._ask("DELETE", _pod_path(pod_id), fine=(404,))
        if answer.status == 404 and not answer.is_json:
            raise errors.of_other(answer)
        return answer.status != 404

    def check(self) -> None:
        """Return when the key opens an account whose pods can be read."""
        self._ask("GET", "/pods", params={"limit": 1})

    def gpus(self, cloud: str) -> list[dict[str, Any]]:
        """The catalogue, with what is free in one cloud."""
        params = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud}
        answer = self._ask("GET", "/catalog/gpus", params=params)
        listed = answer.document.get("gpus") if isinstance(answer.document, dict) else None
        if not isinstance(listed, list):
            raise errors.garbled(answer, "to the list of GPUs")
        return [gpu for gpu in listed if _has_id(gpu)]

    def charges(self, pod_id: str, since: datetime) -> list[dict[str, Any]]:
        """What was billed for one pod, hour by hour."""
        start = since.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        params = {"podId": pod_id, "bucketSize": "hour", "startTime": start}
        answer = self._ask("GET", "/billing/pods", params=params)
        listed = answer.document.get("records") if isinstance(answer.document, dict) else None
        if not isinstance(listed, list):
            raise errors.garbled(answer, "about what was charged")
        # A parameter that is not known is ignored there, so the records are looked through here.
        return [row for row in listed if isinstance(row, dict) and row.get("podId") == pod_id]

    def money(self) -> dict[str, Any]:
        """What is left in the account, from the interface that is to be switched off in 2027."""
        query = {"query": "query { myself { clientBalance currentSpendPerHr } }"}
        answer = self._send("POST", settings.RUNPOD_GRAPHQL_URL, json=query, seconds=READ_SECONDS)
        if not answer.ok:
            raise errors.of_other(answer)
        data = answer.document.get("data") if isinstance(answer.document, dict) else None
        myself = data.get("myself") if isinstance(data, dict) else None
        if not isinstance(myself, dict):
            raise errors.garbled(answer, "about the balance")
        return myself

    def _ask(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, fine: tuple[int, ...] = ()
    ) -> Answer:
        """A question that may be repeated. Return its answer when it is a success or one of `fine`."""
        end = time.monotonic() + WHOLE_SECONDS
        for number in range(TRIES):
            pause = PAUSES[min(number, len(PAUSES) - 1)]
            last = number == TRIES - 1
            seconds = max(1.0, min(READ_SECONDS, end - time.monotonic()))
            try:
                answer = self._send(method, self._base + path, params=params, seconds=seconds)
            except Unavailable:
                if last or time.monotonic() + pause >= end:
                    raise
            else:
                if answer.ok or answer.status in fine:
                    return answer
                wait = pause if answer.retry_after is None else answer.retry_after
                if answer.status not in PASSING or last or wait > SHORT_WAIT or time.monotonic() + wait >= end:
                    break
                pause = wait
            time.sleep(pause)
        raise errors.of_other(answer)

    def _send(
        self, method: str, url: str, *, params: Mapping[str, Any] | None = None, json: Any = None, seconds: float
    ) -> Answer:
        """One request and its whole answer, whatever it says. Raise NotSent or Unavailable when there is none."""
        try:
            with self._session.request(
                method, url, params=params, json=json, timeout=(CONNECT_SECONDS, seconds), stream=True,
                allow_redirects=False,
            ) as response:  # fmt: skip
                body = _read(response, time.monotonic() + seconds)
                return Answer.read(response.status_code, response.headers, body)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            what = type(error).__name__
            if _never_connected(error):
                raise NotSent(f"RunPod could not be reached ({what}).") from None
            raise Unavailable(f"RunPod's answer did not arrive ({what}).") from None


class _Bearer(requests.auth.AuthBase):
    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _read(response: requests.Response, end: float) -> bytes:
    """The whole body. Raise ValueError when it is too long, TimeoutError when it is not there by `end`."""
    body = bytearray()
    # Whatever has arrived, at once: a read that waits until it has so many bytes can wait for ever.
    while piece := response.raw.read1(65536, decode_content=True):
        body += piece
        if len(body) > MAX_BYTES:
            raise ValueError("too long")
        if time.monotonic() > end:  # it arrives, but drop by drop
            raise TimeoutError
    return bytes(body)


def _never_connected(error: Exception) -> bool:
    """Surely no byte of the request left this machine."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause: Any = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", cause), NewConnectionError | NameResolutionError)


def _has_id(thing: Any) -> bool:
    return isinstance(thing, dict) and isinstance(thing.get("id"), str) and bool(thing["id"])


def _pod_path(pod_id: str) -> str:
    return f"/pods/{quote(pod_id, safe='')}"
