"""Taking secrets out of what a program printed.

The values themselves are never stored: the run's record holds hashes of the words they are made of, and a printed word
with such a hash is blotted out. Secrets we did not hand out are known by their usual shapes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

HIDDEN = "[hidden]"
_WORD = re.compile(r"[A-Za-z0-9_-]{8,}")
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY", re.IGNORECASE)
_ASSIGNED = r"\b[\w.-]*%s[\"']?\s*[=:]\s*[\"']?"
_SHAPES = (
    (re.compile(r"(?i)(bearer\s+|basic\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(hf_|rpa_|sk-|ghp_|github_pat_|AKIA|ASIA|xox[abp]-)[A-Za-z0-9_-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)([?&](?:[a-z-]*signature|sig|token|x-amz-[a-z-]+|[a-z-]*key)=)[^&\s\"']+"), rf"\1{HIDDEN}"),
    # Narrow for tokens and keys, so that a printed pad_token or eos_token of a model stays readable.
    (re.compile(rf"(?i)({_ASSIGNED % '(?:token|api_?key|access_?key)'})[A-Za-z0-9+/=_.~-]{{12,}}"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_ASSIGNED % '(?:secret|password|passwd)'})[^\s\"',}}]{{4,}}"), rf"\1{HIDDEN}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@"), rf"\1{HIDDEN}@"),
)  # fmt: skip


def secret_hashes(environment: Mapping[str, str]) -> list[str]:
    """Hashes of the words in those values whose variable's name says that they are secret."""
    words = {word for name, value in environment.items() if _SECRET_NAME.search(name) for word in _WORD.findall(value)}
    return sorted(_hash(word) for word in words)


def redact(text: str, hashes: Iterable[str]) -> str:
    known = frozenset(hashes)
    if known:
        text = _WORD.sub(lambda match: HIDDEN if _hash(match[0]) in known else match[0], text)
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text


def _hash(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
