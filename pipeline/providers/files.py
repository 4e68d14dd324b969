"""Small JSON files as a provider's memory: written whole or not at all, read without trust."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

from pipeline.providers.base import Refused

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,119}")


def is_machine_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> None:
    """Raise Refused when `name` cannot be a file name: names come from our own rows, but a path must never escape."""
    if not is_machine_name(name):
        raise Refused(
            f"“{name[:120]}” cannot be the name of a machine: use up to 120 lower-case letters, digits and hyphens, "
            "starting with a letter or digit."
        )


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, None when there is none or it is torn (power cut). Other troubles raise OSError."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace `path`: a reader sees the old text or the new one, never a part."""
    draft = _draft(path, document)
    os.replace(draft, path)


def create_json(path: Path, document: dict[str, Any]) -> bool:
    """Create `path` unless it exists; False when it did. The file appears complete."""
    draft = _draft(path, document)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    return True


def _draft(path: Path, document: dict[str, Any]) -> Path:
    """The leading dot keeps a draft that a killed process left behind out of every listing."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(document, file)
    return draft
