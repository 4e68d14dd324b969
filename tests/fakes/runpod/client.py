"""A client for tests of the imitated RunPod: says what it is told to, and judges nothing."""

from __future__ import annotations

from typing import Any

import requests

A5000 = "NVIDIA RTX A5000"


class Client(requests.Session):
    """Speaks to the API at `url` (`FakeRunPod.url`) as a provider does."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__()
        self.url = url
        self.origin = url.removesuffix("/v2")
        self.headers.update({"Authorization": f"Bearer {key}", "User-Agent": "tests"})

    def call(self, method: str, path: str, **values: Any) -> requests.Response:
        return self.request(method, self.url + path, timeout=10, **values)

    def create(self, name: str = "ft-1-a0", *, gpu: str = A5000, count: int = 1, **values: Any) -> requests.Response:
        body = {"name": name, "image": "r/i@sha256:0", "cloud": "SECURE", "gpu": {"id": gpu, "count": count}, **values}
        return self.call("POST", "/pods", json=body)

    def made(self, name: str = "ft-1-a0", **values: Any) -> str:
        """The id of a new pod."""
        answer = self.create(name, **values)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def pod(self, id_: str) -> requests.Response:
        return self.call("GET", f"/pods/{id_}")

    def names(self, **query: Any) -> list[str]:
        return [pod["name"] for pod in self.call("GET", "/pods", params=query).json()["pods"]]

    def delete_pod(self, id_: str) -> int:
        return self.call("DELETE", f"/pods/{id_}").status_code

    def control(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, f"{self.origin}/_control/{path}", json=body, timeout=10)
