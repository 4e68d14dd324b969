"""A network between a browser and the product, which can be cut, mended, or made to refuse websockets."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from types import TracebackType

REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CHUNK = 65536


class Cable:
    """Forwards TCP from a port of its own to `port`. With `websockets=False` it behaves like many a company's proxy:
    pages pass, a request to upgrade the connection is refused. `cut` drops every connection and takes no new one."""

    def __init__(self, port: int, *, websockets: bool = True) -> None:
        self.port = port
        self.websockets = websockets
        self.intact = True
        self.refused = 0
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        with self._lock:
            self.intact = False
            pairs = list(self._pairs)
        for pair in pairs:
            _hang_up(pair)

    def mend(self) -> None:
        self.intact = True

    def __enter__(self) -> Cable:
        self._run(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _run(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.intact:
                self._run(self._serve, client)
            else:
                client.close()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                # A browser opens a connection of its own for each websocket, so its first bytes tell what it is for.
                first = client.recv(CHUNK)
                if not first:
                    return
                if not self.websockets and b"upgrade: websocket" in first.lower():
                    self.refused += 1
                    client.sendall(REFUSAL)
                    return
                server = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                return
            with server:
                pair = (client, server)
                with self._lock:
                    if not self.intact:
                        return
                    self._pairs.add(pair)
                try:
                    server.sendall(first)
                    _pump(client, server)
                except OSError:
                    pass
                finally:
                    with self._lock:
                        self._pairs.discard(pair)


def _pump(client: socket.socket, server: socket.socket) -> None:
    """Copy bytes both ways until either side ends."""
    other = {client: server, server: client}
    while True:
        for ready in select.select([client, server], [], [])[0]:
            content = ready.recv(CHUNK)
            if not content:
                return
            other[ready].sendall(content)


def _hang_up(pair: tuple[socket.socket, socket.socket]) -> None:
    for end in pair:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
