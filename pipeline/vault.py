"""Secrets at rest: AES-256-GCM with a ring of keys. What is sealed for one row cannot be opened in another.

A sealed value is `version (1 byte) | key id (4) | nonce (12) | ciphertext and tag`. The newest key of the ring seals,
all of them open; `manage.py rotate_keys` seals everything anew with the newest.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

VERSION = b"\x01"
KEY_BYTES = 32
_ID, _NONCE = 4, 12


class Unopenable(Exception):
    """The sealed value cannot be opened: its key is not in the ring, or it belongs to another row or owner."""


def seal(text: str, bound_to: str) -> bytes:
    """Encrypt `text` so that only the same `bound_to` (table, row and owner) opens it."""
    key = _ring()[0]
    nonce = os.urandom(_NONCE)
    return VERSION + key_id(key) + nonce + AESGCM(key).encrypt(nonce, text.encode(), bound_to.encode())


def unseal(blob: bytes, bound_to: str) -> str:
    """Raise Unopenable."""
    blob = bytes(blob)
    version, kid, nonce = blob[:1], blob[1 : 1 + _ID], blob[1 + _ID : 1 + _ID + _NONCE]
    if version != VERSION or len(nonce) != _NONCE:
        raise Unopenable("This is not a sealed value of a known version.")
    for key in _ring():
        if key_id(key) == kid:
            try:
                return AESGCM(key).decrypt(nonce, blob[1 + _ID + _NONCE :], bound_to.encode()).decode()
            except InvalidTag:
                raise Unopenable("The sealed value was changed, or belongs to another row.") from None
    raise Unopenable("The key it was sealed with is not in ENCRYPTION_KEY any more. Put it back, behind the newest.")


def is_current(blob: bytes) -> bool:
    """Whether it was sealed with the newest key."""
    return bytes(blob)[1 : 1 + _ID] == key_id(_ring()[0])


def key_id(key: bytes) -> bytes:
    """Tells keys apart without telling anything about them."""
    return hashlib.sha256(b"stoker key id" + key).digest()[:_ID]


def _ring() -> list[bytes]:
    ring: list[bytes] = settings.STOKER_ENCRYPTION_KEYS
    return ring
