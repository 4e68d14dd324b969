"""Files from signed links: fetched once, checked by size and SHA-256, kept under a name only when complete."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from training.client import backoff, pause
from training.failures import InvalidDataError, RunError, StopRequested

CHUNK = 1024 * 1024
MAX_TRIES = 12
MAX_WRONG = 3  # times that a complete file with a wrong checksum is fetched again
TIMEOUT = 60.0


def fetch(
    what: str,
    link: Callable[[], tuple[str, str]],
    target: Path,
    give_up: Callable[[], bool],
    say: Callable[[str], None],
) -> Path:
    """Fetch `what` to `target`. `link()` gives (url, sha256) and is asked again when a link was not accepted any more.

    Raise RunError with a sentence when it cannot be had, InvalidDataError when its content is not as announced.
    """
    url, sha256 = link()
    if target.is_file() and file_sha256(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    waits, wrong, problem = backoff(0.5, 20.0), 0, ""
    for _ in range(MAX_TRIES):
        if give_up():
            raise StopRequested(f"Stopped while fetching {what}.")
        try:
            got = _download(url, part)
            if got == sha256:
                os.replace(part, target)
                return target
            wrong += 1
            problem = f"its SHA-256 is {got[:12]}…, announced was {sha256[:12]}…"
            if wrong >= MAX_WRONG:
                break
        except urllib.error.HTTPError as error:
            problem = f"the store answered {error.code} {error.reason}"
            error.close()
            if error.code in (400, 401, 403, 404, 410):
                url, sha256 = link()
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
        say(f"Fetching {what} did not work, trying again: {problem}.")
        pause(next(waits), give_up)
    part.unlink(missing_ok=True)
    if wrong >= MAX_WRONG:
        raise InvalidDataError(f"The file of {what} is not what was stored: {problem}. Upload it again.")
    raise RunError(f"{what[:1].upper()}{what[1:]} could not be fetched: {problem}.")


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(url: str, part: Path) -> str:
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("the link is neither http nor https")
    digest = hashlib.sha256()
    request = urllib.request.Request(url)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response, part.open("wb") as out:  # noqa: S310
        expected = response.headers.get("Content-Length")
        size = 0
        while chunk := response.read(CHUNK):
            digest.update(chunk)
            out.write(chunk)
            size += len(chunk)
    if expected is not None and expected.isdigit() and size != int(expected):
        raise OSError(f"only {size} of {expected} bytes arrived")
    return digest.hexdigest()
