"""A call to the imitated API and what is answered, apart from sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON, PROBLEM, HTML, PLAIN = "application/json", "application/problem+json", "text/html", "text/plain"
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass
class Call:
    """One request. The key is never in it: `who` says what the key opened."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    operation: str = ""  # create, list, get, update, delete, action, logs, gpus, ...
    pod: str = ""  # the name of the pod it is about
    gpu: str = ""
    cloud: str = ""
    places: tuple[str, ...] = ()
    who: str = ""  # "account <id>" or "pod <id>", "" for an unknown key
    number: int = 0  # counted from 1 over the whole life of the server
    at: float = 0.0
    status: int | None = None  # None: the connection was cut
    faults: tuple[str, ...] = ()  # kinds that touched it


@dataclass
class Reply:
    status: int
    document: Any = None
    raw: bytes | None = None  # instead of the document
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""  # "all": no byte is sent; "half": the connection ends in the middle of the body
    delay: float = 0.0  # seconds of ours before it is sent
    stream_of: str = ""  # id of the pod whose log follows, without an end


def problem(status: int, detail: str, errors: Any = None, **headers: str) -> Reply:
    document = {"title": TITLES.get(status, "Error"), "status": status, "detail": detail}
    if errors:
        document["errors"] = errors
    return Reply(status, document, content_type=PROBLEM, headers={k.replace("_", "-"): v for k, v in headers.items()})
