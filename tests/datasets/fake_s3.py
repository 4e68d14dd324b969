"""A small S3-compatible store on localhost: enough for boto3 to store, read, list and delete objects."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class FakeS3:
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)  # "bucket/key" -> content
    ranges: list[str] = field(default_factory=list)  # Range headers of reads
    down: bool = False

    def settings(self, buckets: tuple[str, ...]) -> dict[str, Any]:
        """Django's STORAGES entries for these buckets in this store."""
        return {
            name: {
                "BACKEND": "storages.backends.s3.S3Storage",
                "OPTIONS": {
                    "bucket_name": f"company-{name}",
                    "endpoint_url": self.url,
                    "region_name": "us-east-1",
                    "access_key": "AKIAFAKEFAKEFAKEFAKE",
                    "secret_key": "not-a-real-secret",
                    "addressing_style": "path",
                    "signature_version": "s3v4",
                    "file_overwrite": False,
                    "default_acl": None,
                },
            }
            for name in buckets
        }


@contextmanager
def running() -> Iterator[FakeS3]:
    store = FakeS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            store.objects[self._key()] = self._body()
            self._answer(200, headers={"ETag": '"e"'})

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if store.down:
                self._answer(500)
            elif "/" not in self._key().strip("/"):
                self._list(query.get("prefix", [""])[0])
            else:
                self._send(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(500) if store.down else self._send(with_body=False)

        def do_DELETE(self) -> None:
            store.objects.pop(self._key(), None)
            self._answer(204)

        def _send(self, with_body: bool) -> None:
            content = store.objects.get(self._key())
            if content is None:
                self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>" if with_body else b"")
                return
            status, headers = 200, {"ETag": '"e"', "Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
            if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
                store.ranges.append(self.headers["Range"])
                start = int(match[1])
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                status, content = 206, content[start:]
            self._answer(status, content, headers, with_body)

        def _list(self, prefix: str) -> None:
            bucket = self._key().strip("/")
            keys = [path.removeprefix(f"{bucket}/") for path in store.objects if path.startswith(f"{bucket}/{prefix}")]
            rows = "".join(f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>" for key in keys)
            head = '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            self._answer(200, f"{head}<IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode())

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).lstrip("/")

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
                return body
            content, rest = b"", body
            while True:
                head, _, rest = rest.partition(b"\r\n")
                size = int(head.split(b";")[0], 16)
                if not size:
                    return content
                content, rest = content + rest[:size], rest[size + 2 :]

        def _answer(
            self, status: int, body: bytes = b"", headers: dict[str, str] | None = None, with_body: bool = True
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
