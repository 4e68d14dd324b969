"""How messages travel, one file a kind."""

from __future__ import annotations

from notifications.models import Destination
from notifications.transports import apprise, discord, email, slack, webhook
from notifications.transports.base import Transport

_TRANSPORTS: dict[str, Transport] = {
    Destination.Type.EMAIL: email.Email(),
    Destination.Type.SLACK: slack.Slack(),
    Destination.Type.DISCORD: discord.Discord(),
    Destination.Type.WEBHOOK: webhook.Webhook(),
    Destination.Type.APPRISE: apprise.Apprise(),
}


def transport(kind: str) -> Transport:
    return _TRANSPORTS[kind]
