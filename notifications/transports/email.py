"""E-mail, through the server that the operator has set up."""

from __future__ import annotations

import smtplib
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.template.loader import render_to_string

from notifications.transports.base import Address, BadAddress, Checked, Message, NotDelivered

NO_SERVER = "This installation has no mail server, so it sends no e-mail. Its operator can name one with EMAIL_HOST."


class Email:
    signs: ClassVar[bool] = False

    def check(self, where: str) -> Checked:
        try:
            validate_email(where)
        except ValidationError:
            raise BadAddress("This is not an e-mail address. It looks like ada@example.org.") from None
        if no_server():
            raise BadAddress(NO_SERVER)
        return Checked(where, where[:254])

    def send(self, address: Address, message: Message) -> None:
        if no_server():
            raise NotDelivered(NO_SERVER, permanent=True)
        context = {"message": message}
        mail = EmailMultiAlternatives(
            subject=" ".join(message.title.split()),
            body=render_to_string("notifications/email.txt", context),
            to=[address.where],
            headers={
                # The same for each try: mail programs show a message that arrives twice only once.
                "Message-ID": f"<{message.id}@{settings.PUBLIC.hostname}>",
                "Auto-Submitted": "auto-generated",
                "X-Priority": "1" if message.priority == "high" else "3",
            },
        )
        mail.attach_alternative(render_to_string("notifications/email.html", context), "text/html")
        try:
            mail.send()
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            final = all(500 <= code < 600 for code in codes)
            raise NotDelivered(f"The mail server refuses this recipient ({codes[0]}).", permanent=final) from None
        except smtplib.SMTPAuthenticationError:
            raise NotDelivered("The mail server does not accept Stoker's password. Its operator must act.") from None
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"The mail server refused the message ({error.smtp_code}).") from None
        except (smtplib.SMTPException, OSError):
            raise NotDelivered("The mail server could not be reached.") from None


def no_server() -> bool:
    """Whether mail would only be written to the log."""
    return settings.EMAIL_BACKEND.endswith("console.EmailBackend")
