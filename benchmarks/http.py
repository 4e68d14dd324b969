"""A keep-alive HTTP/1.1 client that costs next to nothing, so that it is the server that is measured."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Refused(Exception):
    """An answer that the measurement did not expect."""


class Connection:
    """One connection. `headers` go with every request. Understands answers with a Content-Length only."""

    def __init__(self, port: int, **headers: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": f"127.0.0.1:{port}", **headers}.items())
        self._buffer = b""

    def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        status, headers = self._read_head()
        return Answer(status, headers, self._read(int(headers["content-length"])))

    def expect(self, status: int, method: str, path: str, body: bytes = b"") -> Answer:
        answer = self.request(method, path, body)
        if answer.status != status:
            raise Refused(f"{method} {path} was answered with {answer.status}: {answer.body[:500].decode()}")
        return answer

    def close(self) -> None:
        self._socket.close()

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._receive()
        first, *lines = self._buffer[:end].decode("latin1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return int(first.split(" ", 2)[1]), headers

    def _read(self, length: int) -> bytes:
        parts, missing = [self._buffer], length - len(self._buffer)
        while missing > 0:
            part = self._socket.recv(min(missing, 1 << 20))
            if not part:
                raise ConnectionError("The server closed the connection in the middle of an answer.")
            parts.append(part)
            missing -= len(part)
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return whole[:length]

    def _receive(self) -> None:
        part = self._socket.recv(1 << 16)
        if not part:
            raise ConnectionError("The server closed the connection.")
        self._buffer += part
