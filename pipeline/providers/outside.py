"""Calls to addresses that people typed: none of them leads into the network this server stands in.

A name is resolved once for each connection, every address it has is judged, and the connection goes to a judged one, so
that a name which changes its mind between check and call gains nothing. No redirect is followed, no proxy asked, and an
answer is bounded in time and size. What the operator lists in STOKER_PRIVATE_URLS may be inside.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import requests
from django.conf import settings
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

TIMEOUT = (5.0, 15.0)  # seconds to connect, and between two pieces of an answer
WHOLE_SECONDS = 30.0  # for the whole of a call
MAX_BYTES = 5_000_000
PIECE = 65536
MOST_ADDRESSES = 3

# Translated to an address of IPv4 on the way, whichever stands in their last four bytes.
NAT64 = ip_network("64:ff9b::/96")
# What Python's tables know too late or not at all.
ALSO_INNER = [
    ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "3fff::/20", "5f00::/16")
]


class BadAddress(ValueError):
    """The address may not be called. The message is a sentence for the person who typed it."""


def check_url(url: str, *, allow_private: Collection[str] | None = None) -> None:
    """Raise BadAddress unless a session of ours may call `url` now. `allow_private` stands in for the setting."""
    private = _origins(allow_private)
    origin = _origin(url)
    _allowed(origin, private)
    try:
        _judged(*origin, private)
    except OSError:
        raise BadAddress(f"There is no host named {origin[1]}. Check the address for a typing error.") from None


def session(
    *,
    allow_private: Collection[str] | None = None,
    whole_seconds: float | None = None,
    most_bytes: int | None = None,
) -> requests.Session:
    """A session that calls public addresses only. It raises `requests` exceptions: InvalidURL for what is forbidden.

    A call takes no longer than `whole_seconds`, and an answer has no more than `most_bytes`.
    """
    made = _Session()
    made.trust_env = False  # neither a proxy nor a .netrc of this machine has a say
    adapter = _Adapter(_Rules(_origins(allow_private), whole_seconds or WHOLE_SECONDS, most_bytes or MAX_BYTES))
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    return made


def judge(address: str) -> str:
    """Why an address is not to be called, in a few words; "" for a public one."""
    found = _unwrapped(ip_address(address.partition("%")[0]))
    if found.is_loopback or found.is_unspecified:
        return "this server itself"
    if found.is_link_local:
        return "a link-local address"
    if found.is_multicast:
        return "a multicast address"
    if not found.is_global or found.is_private or found.is_reserved or any(found in net for net in ALSO_INNER):
        return "an address inside a private network"
    return ""


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The address of IPv4 that one of IPv6 stands for, where it stands for one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in NAT64:
            return IPv4Address(address.packed[-4:])
    return address


# Origins: (scheme, host, port)

Origin = tuple[str, str, int]


def _origins(urls: Collection[str] | None) -> frozenset[Origin]:
    given = settings.STOKER_PRIVATE_URLS if urls is None else urls
    return frozenset(_origin(url) for url in given)


def _origin(url: str) -> Origin:
    """Raise BadAddress when it is not a web address."""
    if any(ord(character) <= 32 or ord(character) == 127 or character == "\\" for character in url):
        raise BadAddress("The address holds a space, a backslash or a control character.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadAddress("This is not an address. It looks like https://gpu.example.org.") from None
    if parts.scheme not in ("https", "http") or not host:
        raise BadAddress("The address must begin with https:// and name a host, as https://gpu.example.org does.")
    if "@" in parts.netloc:
        raise BadAddress("Leave the user name and password out of the address.")
    return parts.scheme, host.rstrip("."), port or (443 if parts.scheme == "https" else 80)


def _allowed(origin: Origin, private: frozenset[Origin]) -> None:
    """Raise BadAddress when scheme or port alone forbid it."""
    scheme, _, port = origin
    if origin in private:
        return
    if scheme != "https":
        raise BadAddress(f"The address must begin with https://, so that keys travel encrypted.{_OPERATOR}")
    if port != 443:
        raise BadAddress(f"The address names port {port}, but only 443 may be called.{_OPERATOR}")


def _judged(scheme: str, host: str, port: int, private: frozenset[Origin]) -> list[str]:
    """The addresses of a host, all of which may be called. Raise BadAddress, or OSError when it has none."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise BadAddress("The address names no host that can exist.") from None
    addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
    for address in addresses:
        what = judge(address)
        if what and ((scheme, host, port) not in private or what in ("a link-local address", "a multicast address")):
            raise BadAddress(f"{host} is {what}, which may not be called from here.{_OPERATOR}")
    return addresses


_OPERATOR = " An operator can allow an address of your own network with STOKER_PRIVATE_URLS."


# What `requests` is made to do


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


class _Rules:
    """What the connections of one session may reach, and a second handle on each, by which it can be ended."""

    def __init__(self, private: frozenset[Origin], whole_seconds: float, most_bytes: int) -> None:
        self.private, self.whole_seconds, self.most_bytes = private, whole_seconds, most_bytes
        self.handles: set[socket.socket] = set()
        self.retired: list[socket.socket] = []  # the connection is closed, but its last answer is still being read
        self.calling = self.too_late = False

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """End what takes longer than a call may, however steadily single bytes arrive."""
        self.calling, self.too_late = True, False
        timer = threading.Timer(self.whole_seconds, self._cut)
        timer.daemon = True
        timer.start()
        late = requests.exceptions.ReadTimeout(f"The call took longer than {self.whole_seconds:g} seconds.")
        try:
            yield
        except requests.RequestException as error:
            raise (late if self.too_late else error) from None
        finally:
            timer.cancel()
            self.calling = False
            while self.retired:
                self.retired.pop().close()
        if self.too_late:  # an answer that is cut off can look like one that ended
            raise late

    def retire(self, handle: socket.socket) -> None:
        self.handles.discard(handle)
        if self.calling:
            self.retired.append(handle)
        else:
            handle.close()

    def _cut(self) -> None:
        self.too_late = True
        for handle in [*self.handles, *self.retired]:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)


class _Connecting:
    """Stands in for urllib3's own way to open a connection, by which it may go to any address."""

    rules: _Rules
    handle: socket.socket | None = None

    def _new_conn(self: Any) -> socket.socket:
        scheme = "https" if isinstance(self, HTTPSConnection) else "http"
        host = self.host.strip("[]").lower().rstrip(".")
        try:
            addresses = _judged(scheme, host, self.port, self.rules.private)[:MOST_ADDRESSES]
        except socket.gaierror as error:
            raise NameResolutionError(host, self, error) from error
        for address in addresses:
            if self.rules.too_late:
                break
            try:
                made = create_connection((address, self.port), self.timeout, socket_options=self.socket_options)
            except OSError:
                continue
            # The same connection ends through either handle, and this one outlives what TLS does with the other.
            self.handle = made.dup()
            self.rules.handles.add(self.handle)
            return made
        raise NewConnectionError(self, f"{host} does not take connections on port {self.port}.")

    def close(self: Any) -> None:
        super().close()  # type: ignore[misc]
        if self.handle is not None:
            self.rules.retire(self.handle)
            self.handle = None


class _Adapter(HTTPAdapter):
    def __init__(self, rules: _Rules) -> None:
        self.rules = rules
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        ruled = {"rules": self.rules}
        plain = type("Plain", (_Connecting, HTTPConnection), ruled)
        encrypted = type("Encrypted", (_Connecting, HTTPSConnection), ruled)
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("EncryptedPool", (HTTPSConnectionPool,), {"ConnectionCls": encrypted}),
        }

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *args: Any, **kwargs: Any
    ) -> requests.Response:
        try:
            _allowed(_origin(request.url or ""), self.rules.private)
            with self.rules.in_time():
                response = super().send(request, True, timeout or TIMEOUT, *args, **kwargs)
                _read(response, self.rules.most_bytes)
        except BadAddress as error:
            raise requests.exceptions.InvalidURL(str(error), request=request) from None
        return response


def _read(response: requests.Response, most_bytes: int) -> None:
    """Take in the answer, as `requests` does without `stream`, but no more than `most_bytes` of it."""
    body = bytearray()
    for piece in response.iter_content(PIECE):
        body += piece
        if len(body) > most_bytes:
            response.close()
            raise requests.exceptions.ContentDecodingError(f"The answer is longer than {most_bytes:,} bytes.")
    response._content = bytes(body)
