"""Webhooks as Standard Webhooks has them: who has the secret can tell that a message is ours, unchanged and fresh."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import ClassVar

from notifications.transports.base import Address, Checked, Message
from notifications.transports.posting import checked_url, post

PREFIX = "whsec_"
SECRET_BYTES = 32


class Webhook:
    signs: ClassVar[bool] = True

    def check(self, where: str) -> Checked:
        return checked_url(where)

    def send(self, address: Address, message: Message) -> int:
        body = content(message)
        return post(address.where, body, headers(body, message.id, address.secrets, round(time.time())))


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def content(message: Message) -> bytes:
    body = {
        "type": message.type,
        "timestamp": message.at.isoformat().replace("+00:00", "Z"),
        "data": {
            "title": message.title,
            "message": message.text,
            "priority": message.priority,
            "url": message.url or None,
            **message.data,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def headers(body: bytes, message_id: str, keys: tuple[str, ...], now: int) -> dict[str, str]:
    """One signature for each secret: while a secret is changed, receivers with either can check."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(_signature(body, message_id, key, now) for key in keys),
    }


def _signature(body: bytes, message_id: str, key: str, now: int) -> str:
    signed = f"{message_id}.{now}.".encode() + body
    digest = hmac.digest(base64.b64decode(key.removeprefix(PREFIX)), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
