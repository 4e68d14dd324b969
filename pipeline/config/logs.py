"""Log lines as text or JSON. Whatever looks like a credential is blotted out, in tracebacks too."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

from pipeline import trail
from pipeline.providers.secrecy import BLOT, hide

CREDENTIALS = [
    # Authorization headers, however they were printed.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {BLOT}"),
    (
        re.compile(
            r"(?i)(\b(?:proxy-)?authorization['\"]?\s*[:=]\s*['\"]?|\bx-api-key['\"]?\s*[:=]\s*['\"]?)"
            r"(?!bearer\b|basic\b)[^\s'\",}]+"
        ),
        rf"\1{BLOT}",
    ),
    # Tokens by their prefix: ours, RunPod's, Hugging Face's.
    (re.compile(r"\b(stk|rpa|rps|hf)_[A-Za-z0-9_-]{6,}"), rf"\1_{BLOT}"),
    # Signed addresses, ours and an object store's, and keys in a query.
    (
        re.compile(
            r"(?i)([?&](?:[\w-]*signature|sig|[\w-]*token|[\w-]*api_?key|key|secret|password|x-amz-credential)=)"
            r"[^&\s\"'<>]+"
        ),
        rf"\1{BLOT}",
    ),
    (re.compile(r"(/sign-in/once/|/files/[\w-]+/)[^/\s\"'<>]{12,}"), rf"\1{BLOT}"),
    # Passwords inside addresses.
    (re.compile(r"(\b[a-z][a-z0-9+]*://[^\s:/@]*:)[^\s@/]+@"), rf"\1{BLOT}@"),
]


def redact(text: str) -> str:
    """The text without credentials: those of a known look, and the one a provider is being called with."""
    text = hide(text)
    for pattern, replacement in CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def _about() -> dict[str, str]:
    """What is being worked on, as far as it is known: this is asked in the thread that logs."""
    found = {"request": trail.request_id(), "job": trail.job_id()}
    return {name: number for name, number in found.items() if number}


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        about = "".join(f" [{name} {number}]" for name, number in _about().items())
        return redact(super().format(record)) + about


class JsonLines(logging.Formatter):
    """One JSON object a line with a fixed set of fields, so that nothing unforeseen is written."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            "process": record.process,
            **_about(),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
