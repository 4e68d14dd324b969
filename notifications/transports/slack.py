"""Slack's incoming webhooks, and those of programs that understand the same, such as Mattermost."""

from __future__ import annotations

from typing import ClassVar

from notifications.transports.base import Address, Checked, Message
from notifications.transports.posting import checked_url, post

FINAL = (400, 401, 403, 404)  # the webhook or its channel was removed, or it refuses such messages
MAX_TEXT = 3000


class Slack:
    signs: ClassVar[bool] = False

    def check(self, where: str) -> Checked:
        return checked_url(where)

    def send(self, address: Address, message: Message) -> int:
        mark = ":warning: " if message.priority == "high" else ""
        lines = [f"{mark}*{_escaped(message.title)}*", _escaped(message.text[:MAX_TEXT])]
        if message.url:
            lines.append(f"<{message.url}|Open in Stoker>")
        return post(address.where, {"text": "\n".join(line for line in lines if line)}, final=FINAL)


def _escaped(text: str) -> str:
    """So that no name becomes a link, or a call to a whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
