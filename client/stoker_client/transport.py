"""One connection to a server: sends what may be sent again until it is answered, and turns refusals into errors."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from stoker_client.errors import StokerError, Unreachable, refusal

BUSY = frozenset({429, 502, 503, 504})
HEADERS = {"Accept": "application/json", "User-Agent": "stoker-client"}
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0

OnWait = Callable[[str, float], None]  # why, and for how many seconds


class Transport:
    """`patience`: for how many seconds in all a request is tried again while the server is away or busy."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience: float = 60.0,
        timeout: float = 30.0,
        on_wait: OnWait | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self.on_wait = on_wait
        self._pause = pause
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={
                    "Authorization": f"Bearer {token}",
                    "Accept": "application/json",
                    "User-Agent": "stoker-client",
                },
                timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
            )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise StokerError(f"“{url}” is no address. Give one as https://stoker.example.org.") from error

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self.request("GET", path, params={k: v for k, v in params.items() if v is not None}).json()

    def post(self, path: str, body: Any = None, *, again: bool = True) -> Any:
        return self.request("POST", path, json={} if body is None else body, again=again).json()

    def create(self, path: str, *, key: str | None = None, **options: Any) -> Any:
        """A request that makes something. With its key it may be sent again without making a second one."""
        return self.request("POST", path, headers={"Idempotency-Key": key or str(uuid.uuid4())}, **options).json()

    def request(
        self,
        method: str,
        path: str,
        *,
        again: bool = True,
        headers: Mapping[str, str] | None = None,
        files: Callable[[], Any] | None = None,
        **options: Any,
    ) -> httpx.Response:
        """The server's answer. `files` opens anew what is sent, for each try. `again` False: a request that may have
        arrived is not repeated.

        Raise Refused for what the server does not want, Unreachable when there is no answer.
        """
        patience = self._patience()
        while True:
            with _opened(files) as opened:
                try:
                    response = self._http.request(method, path, headers=headers, files=opened, **options)
                    trouble = _busy(response)
                    wait = _retry_after(response) if trouble else None
                except httpx.TransportError as error:
                    trouble, wait = _said(error), None
                    if not again and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                        raise Unreachable(
                            f"The connection to {self.url} was lost: {trouble}. Look whether the request arrived."
                        ) from error
            if trouble is None:
                break
            patience.wait(trouble, wait)
        if response.is_success or response.is_redirect:
            return response
        raise refusal(response)

    @contextmanager
    def download(self, path: str) -> Iterator[httpx.Response]:
        """A file, as an answer whose body is still to be read."""
        patience = self._patience()
        while True:
            try:
                with self._http.stream("GET", path, follow_redirects=True, headers={"Accept": "*/*"}) as response:
                    trouble, wait = _busy(response), _retry_after(response)
                    if trouble is None:
                        if not response.is_success:
                            response.read()
                            raise refusal(response)
                        yield response
                        return
            except httpx.ConnectError as error:
                trouble, wait = _said(error), None
            except httpx.TransportError as error:
                raise Unreachable(
                    f"The connection to {self.url} was lost while a file came: {_said(error)}."
                ) from error
            patience.wait(trouble, wait)

    def _patience(self) -> _Patience:
        return _Patience(self.url, self.patience, self._pause, self.on_wait)


class _Patience:
    """The pauses between the tries of one request."""

    def __init__(self, url: str, seconds: float, pause: Callable[[float], None], on_wait: OnWait | None) -> None:
        self._url, self._left, self._sleep, self._on_wait = url, seconds, pause, on_wait
        self._next = FIRST_PAUSE

    def wait(self, trouble: str, told: float | None = None) -> None:
        """Pause: as long as the server said, else longer each time. Raise Unreachable when patience has run out."""
        seconds = told if told is not None else self._next * random.uniform(0.8, 1.2)  # noqa: S311 - spreads callers
        if seconds > self._left:
            raise Unreachable(f"{self._url} cannot be used now: {trouble}.")
        self._left -= seconds
        self._next = min(self._next * 2, LONGEST_PAUSE)
        if self._on_wait is not None:
            self._on_wait(trouble, seconds)
        self._sleep(seconds)


@contextmanager
def _opened(files: Callable[[], Any] | None) -> Iterator[Any]:
    if files is None:
        yield None
        return
    opened = files()
    try:
        yield opened
    finally:
        for part in opened.values():
            part[1].close()


def _busy(response: httpx.Response) -> str | None:
    if response.status_code not in BUSY:
        return None
    return f"it answers {response.status_code} {response.reason_phrase}"


def _retry_after(response: httpx.Response) -> float | None:
    told = response.headers.get("Retry-After", "")
    return float(told) if told.isdigit() else None


def _said(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return str(error).rstrip(".") or type(error).__name__
