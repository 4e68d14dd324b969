"""Typed readers of environment variables. What cannot be used is refused with a sentence naming the variable."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}
# First parts of addresses that other pages have.
TAKEN = {
    "api",
    "datasets",
    "files",
    "healthz",
    "jobs",
    "metrics",
    "readyz",
    "settings",
    "sign-in",
    "sign-out",
    "static",
}


class Refused(Exception):
    """A setting has a value the program cannot work with. The message is a sentence for the person who set it."""


class Env:
    """Reads variables from a mapping. An empty value counts as unset, so that `PORT= make run` means the default."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables
        self.names: set[str] = set()

    def _raw(self, name: str) -> str | None:
        self.names.add(name)
        return self._variables.get(name, "").strip() or None

    def is_set(self, name: str) -> bool:
        return self._raw(name) is not None

    def text(self, name: str, default: str = "") -> str:
        value = self._raw(name)
        return default if value is None else value

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise Refused(f"{name} is {value!r}, but it must be one of: {', '.join(allowed)}.")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._raw(name)
        if value is None:
            return default
        if value.lower() in TRUE:
            return True
        if value.lower() in FALSE:
            return False
        raise Refused(f"{name} is {value!r}, but it must be yes or no (1/0, true/false, on/off also work).")

    def integer(self, name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
        value = self._raw(name)
        if value is None:
            return default
        try:
            number = int(value)
        except ValueError:
            raise Refused(f"{name} is {value!r}, but it must be a whole number.") from None
        _within(name, number, least, most)
        return number

    def decimal(self, name: str, default: str, *, least: int | None = None) -> Decimal:
        value = self.text(name, default)
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise Refused(f"{name} is {value!r}, but it must be a number such as 0.79.") from None
        if not number.is_finite():
            raise Refused(f"{name} is {value!r}, but it must be a finite number.")
        _within(name, number, least, None)
        return number

    def url(self, name: str, default: str, *, schemes: tuple[str, ...] = ("http", "https")) -> str:
        """An address without a slash at its end."""
        return self._address(name, self.text(name, default), schemes)

    def urls(self, name: str) -> list[str]:
        """Web addresses parted by commas."""
        return [self._address(name, value, ("http", "https")) for value in self.names_list(name)]

    def _address(self, name: str, value: str, schemes: tuple[str, ...]) -> str:
        try:
            parts = urlsplit(value)
            parts.port  # noqa: B018 - reading it checks it
        except ValueError as error:
            raise Refused(f"{name} is {_hide_password(value)!r}, which is not an address: {error}.") from None
        if parts.scheme not in schemes or not parts.hostname:
            shown = " or ".join(f"{scheme}://" for scheme in schemes)
            raise Refused(f"{name} is {_hide_password(value)!r}, but it must begin with {shown} and name a host.")
        return value.rstrip("/")

    def path(self, name: str, default: Path) -> Path:
        """An absolute path; `~` and relative paths are allowed. The place need not exist."""
        value = self._raw(name)
        return Path(os.path.abspath(default if value is None else Path(value).expanduser()))

    def names_list(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """Values parted by commas; spaces around them do not count."""
        value = self._raw(name)
        if value is None:
            return list(default)
        return [part.strip() for part in value.split(",") if part.strip()]

    def networks(self, name: str) -> list[IPv4Network | IPv6Network]:
        """Addresses and networks parted by commas: `10.0.0.0/8, 192.0.2.7`."""
        found = []
        for value in self.names_list(name):
            try:
                found.append(ip_network(value))
            except ValueError as error:
                raise Refused(f"{name} names {value!r}, which is neither an address nor a network: {error}.") from None
        return found

    def folder(self, name: str, default: str) -> str:
        """The first part of addresses below this site, without a slash before it and with one behind it."""
        value = self.text(name, default).strip("/")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", value) or value in TAKEN:
            raise Refused(
                f"{name} is {value!r}, but it must be one word of letters, digits, - and _ that is not in use: "
                f"{', '.join(sorted(TAKEN))} are."
            )
        return f"{value}/"

    def digits(self, name: str, length: int) -> str:
        """So many hex digits in lower case, or nothing."""
        value = self.text(name)
        if value and not re.fullmatch(rf"[0-9a-f]{{{length}}}", value):
            raise Refused(f"{name} is {value!r}, but it must be {length} hex digits in lower case.")
        return value

    def secret(self, name: str, default: str, *, least_length: int = 1) -> str:
        """Like `text`, but a refusal never repeats the value."""
        value = self.text(name, default)
        if len(value) < least_length:
            raise Refused(f"{name} has {len(value)} characters, but it needs at least {least_length} random ones.")
        return value

    def keys(self, name: str, default: str, *, size: int) -> list[bytes]:
        """Keys of `size` bytes in base64, parted by commas, the newest first. A refusal never repeats them."""
        found = []
        for number, text in enumerate((part.strip() for part in self.text(name, default).split(",")), start=1):
            try:
                key = base64.b64decode(text, altchars=b"-_" if set(text) & set("-_") else None, validate=True)
            except ValueError:
                raise Refused(
                    f"Key {number} of {name} is not base64. Make one with: openssl rand -base64 {size}"
                ) from None
            if len(key) != size:
                raise Refused(
                    f"Key {number} of {name} has {len(key)} bytes, but it must have {size}. "
                    f"Make one with: openssl rand -base64 {size}"
                )
            found.append(key)
        return found

    def redis(self, name: str) -> str:
        """`redis://` or `rediss://` (TLS); a database number in it is left out, since three of them are used."""
        value = self.url(name, "", schemes=("redis", "rediss"))
        path = urlsplit(value).path.strip("/")
        if path not in ("", "0"):
            raise Refused(f"{name} asks for database {path}, but the databases 0, 1 and 2 of that server are used.")
        return value

    def database(self, name: str, default: str) -> dict[str, str]:
        """Django's connection settings from `postgresql://user:password@host:port/name?option=value`.

        A `host` option that is a folder means a Unix socket, as in libpq. Any other option is handed to libpq.
        """
        value = self.text(name, default)
        try:
            parts = urlsplit(value)
            port = parts.port
            # Not parse_qsl: it reads "+" as a space, which would break a socket folder named with one.
            options = dict(pair.partition("=")[::2] for pair in parts.query.split("&") if pair)
        except ValueError as error:
            raise Refused(f"{name} is not a database address: {error}.") from None
        if parts.scheme not in ("postgres", "postgresql"):
            raise Refused(
                f"{name} begins with {parts.scheme or 'nothing'!r}, but only PostgreSQL is supported: "
                "postgresql://user:password@host:5432/name."
            )
        options = {unquote(key): unquote(text) for key, text in options.items()}
        database = unquote(parts.path.lstrip("/"))
        if not database:
            raise Refused(f"{name} names no database: it must end in /name, as in postgresql://user@host:5432/stoker.")
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "USER": unquote(parts.username or "") or options.pop("user", ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or options.pop("host", ""),
            "PORT": str(port or options.pop("port", "")),
            **({"OPTIONS": options} if options else {}),  # type: ignore[dict-item]
        }


def _within(name: str, number: int | Decimal, least: int | None, most: int | None) -> None:
    if least is not None and number < least:
        raise Refused(f"{name} is {number}, but it must be {least} or more.")
    if most is not None and number > most:
        raise Refused(f"{name} is {number}, but it must be {most} or less.")


def _hide_password(address: str) -> str:
    before, at, after = address.rpartition("@")
    if not at:
        return address
    scheme, _, user = before.rpartition("//")
    return f"{scheme}//{user.partition(':')[0]}:***@{after}"
