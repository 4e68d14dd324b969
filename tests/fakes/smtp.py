"""A mail server on localhost that keeps what it takes, and can be told to refuse."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from email.message import EmailMessage
from typing import Any


class FakeMailServer:
    """`refuse` answers each RCPT with that line; `mute` takes connections and says nothing."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refuse = ""
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 fake")
                while line := self.rfile.readline().decode().strip():
                    word = line.split()[0].upper()
                    if word == "QUIT":
                        return self.say("221 bye")
                    if word == "RCPT" and fake.refuse:
                        self.say(fake.refuse)
                    elif word == "RCPT":
                        fake.recipients.append(line.partition("<")[2].rstrip(">"))
                        self.say("250 ok")
                    elif word == "DATA":
                        self.say("354 go on")
                        fake.messages.append(self.message())
                        self.say("250 taken")
                    else:
                        self.say("250 ok")

            def message(self) -> Any:
                lines = []
                while (line := self.rfile.readline()) != b".\r\n":
                    lines.append(line.removeprefix(b"."))
                return email.message_from_bytes(b"".join(lines), policy=email.policy.default)

            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FakeMailServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
