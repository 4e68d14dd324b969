"""The second step of signing in to the admin: a code that an app on the operator's phone makes (TOTP)."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction
from django_otp import match_token
from django_otp.plugins.otp_totp.models import TOTPDevice
from unfold.widgets import UnfoldAdminTextInputWidget

NAME = "app"


def enrol(user: User) -> str:
    """Give `user` a new secret, in place of any former one, and return the address that their app reads."""
    with transaction.atomic():
        TOTPDevice.objects.filter(user=user).delete()
        device = TOTPDevice.objects.create(user=user, name=NAME, confirmed=True)
    return str(device.config_url)


def is_enrolled(user: User) -> bool:
    return TOTPDevice.objects.filter(user=user, confirmed=True).exists()


def remove(user: User) -> bool:
    """Take a person's secret away. Return whether they had one."""
    return bool(TOTPDevice.objects.filter(user=user).delete()[0])


class CodeForm(forms.Form):
    """Takes a code once, and after wrong ones only when some time has passed: both are the device's own rules."""

    code = forms.CharField(
        label="Code",
        max_length=8,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )
    device: TOTPDevice | None = None

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"].replace(" ", "")
        if not is_enrolled(self.user):
            raise forms.ValidationError(
                "No app is set up for your account. Somebody who runs this installation does that with: "
                f"manage.py second_factor {self.user.get_username()}"
            )
        self.device = match_token(self.user, code)
        if self.device is None:
            raise forms.ValidationError(
                "This code is not right, or too many were wrong: then wait a little. Each code counts once, and for "
                "about a minute; the clock of the phone must be right."
            )
        return code
