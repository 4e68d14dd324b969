"""Log lines as text or JSON. Whatever looks like a credential is blotted out, in tracebacks too."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime

BLOT = "[hidden]"
CREDENTIALS = [
    # Authorization headers, however they were printed.
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {BLOT}"),
    # Tokens by their prefix: ours, RunPod's, Hugging Face's.
    (re.compile(r"\b(stk|rpa|hf)_[A-Za-z0-9_-]{6,}"), rf"\1_{BLOT}"),
    # Signed addresses, ours and an object store's.
    (
        re.compile(r"(?i)([?&](?:[\w-]*signature|sig|token|x-amz-credential|x-amz-security-token)=)[^&\s\"'<>]+"),
        rf"\1{BLOT}",
    ),
    (re.compile(r"(/sign-in/once/|/files/[\w-]+/)[^/\s\"'<>]{12,}"), rf"\1{BLOT}"),
    # Passwords inside addresses.
    (re.compile(r"(\b[a-z][a-z0-9+]*://[^\s:/@]*:)[^\s@/]+@"), rf"\1{BLOT}@"),
]


def redact(text: str) -> str:
    for pattern, replacement in CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line with a fixed set of fields, so that nothing unforeseen is written."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            "process": record.process,
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
