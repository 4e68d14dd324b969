"""Where the address and the token of the last `stoker login` are kept: a file that only its owner can read."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path

import typer

from stoker_client.errors import StokerError


def place() -> Path:
    return Path(typer.get_app_dir("stoker")) / "login.json"


def save(url: str, token: str) -> Path:
    path = place()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made for its owner only from the first moment on, and complete when it gets its name.
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".login.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"url": url, "token": token}, file)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise
    return path


def forget() -> bool:
    try:
        place().unlink()
    except FileNotFoundError:
        return False
    return True


def load() -> tuple[str, str]:
    """Address and token: STOKER_URL and STOKER_TOKEN where they are set, else of the last login.

    Raise StokerError when nobody has signed in. A token is never sent to another address than it was given for.
    """
    url, token = os.environ.get("STOKER_URL", ""), os.environ.get("STOKER_TOKEN", "")
    if url and token:
        return url, token
    try:
        kept = json.loads(place().read_text())
        kept_url, kept_token = str(kept["url"]), str(kept["token"])
    except FileNotFoundError:
        raise StokerError("Nobody is signed in. Sign in with: stoker login URL") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StokerError(f"{place()} cannot be read. Sign in again with: stoker login URL") from error
    if url and url.rstrip("/") != kept_url.rstrip("/"):
        raise StokerError(f"STOKER_URL is {url}, but the kept token is for {kept_url}. Set STOKER_TOKEN too.")
    return kept_url, token or kept_token
