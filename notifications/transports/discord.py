"""Discord's webhooks."""

from __future__ import annotations

from typing import ClassVar

from notifications.transports.base import Address, Checked, Message
from notifications.transports.posting import checked_url, post

FINAL = (400, 401, 403, 404)  # the webhook was removed, or it refuses such messages
COLOURS = {"high": 0xC2410C, "normal": 0x1F5FAE, "low": 0x8F877C}
MAX_TITLE, MAX_TEXT = 250, 4000


class Discord:
    signs: ClassVar[bool] = False

    def check(self, where: str) -> Checked:
        return checked_url(where)

    def send(self, address: Address, message: Message) -> int:
        card = {
            "title": message.title[:MAX_TITLE],
            "description": message.text[:MAX_TEXT],
            "color": COLOURS.get(message.priority, COLOURS["normal"]),
            "timestamp": message.at.isoformat(),
        }
        if message.url:
            card["url"] = message.url
        # No name in a text may call a person or everybody.
        return post(address.where, {"embeds": [card], "allowed_mentions": {"parse": []}}, final=FINAL)
