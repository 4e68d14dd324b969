"""Where a call to an address that somebody typed may lead, and where it may not."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.providers import outside
from pipeline.providers.outside import BadAddress, check_url, judge

HOST = "gpu.example.org"
PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1", "2002:101:101::"]
INNER = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::7f00:1", "fc00::1",
    "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "3fff::1", "5f00::1", "100::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::a00:1",
    "2002:a9fe:a9fe::", "2002:7f00:1::", "2002:a00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address):
    assert judge(address) == ""


@pytest.mark.parametrize("address", INNER)
def test_all_others_may_not(address):
    assert judge(address)


@pytest.fixture
def names(monkeypatch: Any) -> dict[str, list[str]]:
    """What names mean; a test fills it. Anything that is an address stays itself."""
    known: dict[str, list[str]] = {HOST: ["93.184.215.14"]}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
        if host in known:
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in known[host]
            ]
        with suppress(ValueError):
            ip_address(host)
            return real(host, port, *args, **kwargs)
        if host[0].isdigit():  # shorthand such as 127.1 or 0x7f.1, which the system reads as an address
            return real(host, port, *args, **kwargs)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize(
    "url",
    [
        f"https://{HOST}",
        f"https://{HOST}/api/v1/",
        f"https://{HOST}:443",
        f"HTTPS://{HOST.upper()}.",
        "https://1.1.1.1",
    ],
)
def test_an_address_in_order_passes(names, url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "begin with https://"),
        (HOST, "begin with https://"),
        (f"http://{HOST}", "so that keys travel encrypted"),
        (f"ftp://{HOST}", "begin with https://"),
        ("file:///etc/passwd", "begin with https://"),
        ("https://", "name a host"),
        ("https:///x", "name a host"),
        (f"https://{HOST}:8443", "port 8443"),
        (f"https://{HOST}:99999", "not an address"),
        (f"https://{HOST}:x", "not an address"),
        ("https://[::1", "not an address"),
        (f"https://me:pw@{HOST}", "user name and password"),
        (f"https://@{HOST}", "user name and password"),
        (f"https://127.0.0.1\\@{HOST}", "backslash"),
        (f"https://{HOST}/a b", "space"),
        (f"https://{HOST}\r\nX: 1", "control character"),
        ("https://nowhere.example.org", "no host named"),
        (f"https://{'a' * 70}.example.org", "no host"),
        ("https://127.0.0.1", "this server itself"),
        ("https://127.1", "this server itself"),
        ("https://2130706433", "this server itself"),
        ("https://0x7f.0.0.1", "this server itself"),
        ("https://[::1]", "this server itself"),
        ("https://[::ffff:169.254.169.254]", "link-local"),
        ("https://10.0.0.1", "private network"),
    ],
)
def test_what_is_wrong_is_said(names, url, sentence):
    with pytest.raises(BadAddress, match=sentence):
        check_url(url)


@pytest.mark.parametrize("inner", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "64:ff9b::a9fe:a9fe"])
def test_one_inner_address_among_public_ones_is_enough(names, inner):
    names[HOST] = ["93.184.215.14", inner]
    with pytest.raises(BadAddress):
        check_url(f"https://{HOST}")


class TestTheOperatorsOwnNetwork:
    ALLOWED = ("http://10.0.0.5:8080", f"https://{HOST}")

    def test_a_listed_address_may_be_inside_and_plain(self, names):
        check_url("http://10.0.0.5:8080/training", allow_private=self.ALLOWED)
        names[HOST] = ["192.168.0.9"]
        check_url(f"https://{HOST}/x", allow_private=self.ALLOWED)

    @pytest.mark.parametrize(
        "url",
        ["http://10.0.0.5", "https://10.0.0.5:8080", "http://10.0.0.6:8080", f"http://{HOST}", "https://10.0.0.5"],
    )
    def test_only_with_scheme_host_and_port_as_listed(self, names, url):
        with pytest.raises(BadAddress):
            check_url(url, allow_private=self.ALLOWED)

    def test_the_metadata_of_a_cloud_machine_stays_closed(self, names):
        with pytest.raises(BadAddress):
            check_url("http://169.254.169.254", allow_private=["http://169.254.169.254"])

    def test_the_setting_is_what_counts_by_default(self, names, settings):
        settings.STOKER_PRIVATE_URLS = ["http://10.0.0.5:8080"]
        check_url("http://10.0.0.5:8080")


# Calls, to a real server on this machine


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]]
    release: threading.Event

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"]))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path == "/drip":
            # One byte, and the next only when the caller has gone: no single wait of the caller's is long.
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(b"x")
                self.release.wait(10)
            self.close_connection = True
        else:
            body = b"x" * (outside.MAX_BYTES + 1 if self.path == "/long" else 2)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def serve(context: ssl.SSLContext | None = None) -> Iterator[Any]:
    handler = type("Fresh", (Handler,), {"seen": [], "release": threading.Event()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.seen, server.release = handler.seen, handler.release  # type: ignore[attr-defined]
    yield server
    handler.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def server() -> Iterator[Any]:
    yield from serve()


@dataclass
class Site:
    """The server by a name that is allowed to be inside."""

    origin: str
    session: requests.Session

    def __call__(self, path: str) -> requests.Response:
        return self.session.get(self.origin + path)


@pytest.fixture
def call(names: Any, server: Any) -> Iterator[Site]:
    names[HOST] = ["127.0.0.1"]
    origin = f"http://{HOST}:{server.server_address[1]}"
    with outside.session(allow_private=[origin]) as session:
        yield Site(origin, session)


def test_a_call_reaches_the_judged_address_under_its_name(call, server):
    assert call("/a").text == "xx"
    assert call("/b").text == "xx"
    assert server.seen == [(path, f"{HOST}:{server.server_address[1]}") for path in ("/a", "/b")]


def test_the_first_address_that_takes_connections_is_used(call, names):
    names[HOST] = ["127.0.0.2", "127.0.0.1"]
    assert call("/").ok


def test_a_name_that_changed_since_the_check_gains_nothing(call, names, server):
    session = outside.session(allow_private=[])
    check_url("https://1.1.1.1")
    names["rebound.example.org"] = ["127.0.0.1"]
    with pytest.raises(requests.exceptions.InvalidURL, match="this server itself"):
        session.get("https://rebound.example.org/")
    assert server.seen == []


def test_a_forbidden_address_is_not_called(server):
    with pytest.raises(requests.exceptions.InvalidURL, match="keys travel encrypted"):
        outside.session(allow_private=[]).get(f"http://127.0.0.1:{server.server_address[1]}/")
    assert server.seen == []


def test_redirects_are_not_followed(call, server):
    assert call("/moved").status_code == 302
    assert [path for path, _ in server.seen] == ["/moved"]


def test_proxies_of_the_machine_are_not_asked(call, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert call("/").ok


def test_an_endless_answer_is_given_up(call):
    with pytest.raises(requests.exceptions.ContentDecodingError, match="longer than"):
        call("/long")


def test_a_dripping_answer_is_cut_off(names, server):
    names[HOST] = ["127.0.0.1"]
    origin = f"http://{HOST}:{server.server_address[1]}"
    with outside.session(allow_private=[origin], whole_seconds=0.2) as session:
        hasty = Site(origin, session)
        with pytest.raises(requests.exceptions.ReadTimeout, match=r"longer than 0\.2 seconds"):
            hasty("/drip")
        assert hasty("/").ok


def test_a_host_that_is_gone_is_an_error_of_the_connection(names):
    session = outside.session(allow_private=[])
    with pytest.raises(requests.exceptions.ConnectionError):
        session.get("https://nowhere.example.org/")


def test_connections_that_are_closed_leave_no_handle(call):
    call("/")
    rules = call.session.get_adapter(call.origin).rules
    assert (len(rules.handles), rules.retired) == (1, [])
    call.session.close()
    assert (len(rules.handles), rules.retired) == (0, [])


class TestEncrypted:
    @pytest.fixture
    def secure(self, tmp_path: Path) -> Iterator[Any]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tmp_path / "server.pem"))
        self.asked: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: self.asked.append(name)
        yield from serve(context)

    def test_certificate_and_name_are_the_hosts_and_not_the_addresses(self, names, secure, tmp_path):
        names[HOST] = ["127.0.0.1"]
        origin = f"https://{HOST}:{secure.server_address[1]}"
        session = outside.session(allow_private=[origin])
        session.verify = str(tmp_path / "server.pem")
        assert session.get(f"{origin}/").ok
        assert self.asked == [HOST]
        session.close()

    def test_a_certificate_nobody_vouches_for_is_refused(self, names, secure):
        names[HOST] = ["127.0.0.1"]
        origin = f"https://{HOST}:{secure.server_address[1]}"
        with pytest.raises(requests.exceptions.SSLError):
            outside.session(allow_private=[origin]).get(f"{origin}/")


def certificate(path: Path) -> Path:
    """Key and certificate for HOST, which vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path
