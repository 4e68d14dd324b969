"""A person's program: an API token, and what is done with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from pipeline.config.supervisor import Stack
from tests.waiting import until

TERMINAL = ("completed", "failed", "cancelled")


@dataclass
class Account:
    """A person with an API token, and what they do with it."""

    name: str
    stack: Stack
    http: requests.Session

    def call(self, method: str, path: str, expect: int | None = None, **options: Any) -> Any:
        answer = self.http.request(method, self.stack.url + path, timeout=30, **options)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json() if answer.content and "json" in answer.headers["Content-Type"] else answer

    def upload(self, content: bytes, name: str = "colours") -> dict[str, Any]:
        """Upload a dataset and wait until its check has ended."""
        made = self.call("POST", "/api/datasets/", 201, files={"file": (f"{name}.jsonl", content)}, data={"name": name})
        path = f"/api/datasets/{made['id']}/"
        until(lambda: self.call("GET", path, 200)["status"] in ("ready", "rejected"), 60, "the dataset's check")
        return dict(self.call("GET", path, 200))

    def start(self, dataset: dict[str, Any], **fields: Any) -> str:
        """Create and start a job; return its id."""
        settings = {
            "max_steps": 20, "logging_steps": 1, "eval_steps": 10, "save_steps": 10, "max_length": 128,
            "learning_rate": 5e-3, "r": 4, "lora_alpha": 8, "held_out_samples": 2, "sample_max_new_tokens": 8,
        }  # fmt: skip
        body = {
            "name": "paint",
            "dataset": dataset["id"],
            "base_model": "test/tiny",
            "gpu_config": {"provider": "local"},
            "start": True,
        } | fields
        body["hyperparameters"] = settings | fields.get("hyperparameters", {})
        return str(self.call("POST", "/api/jobs/", 201, json=body)["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/api/jobs/{job_id}/", 200))

    def wait(self, job_id: str, what: Callable[[dict[str, Any]], Any], timeout: float = 120) -> dict[str, Any]:
        """Wait until the job satisfies `what`; a job that ended without doing so fails the test at once."""

        def look() -> dict[str, Any] | None:
            job = self.patiently(f"/api/jobs/{job_id}/")
            if what(job):
                return job
            if job["status"] in TERMINAL:
                story = [event["message"] for event in self.patiently(f"/api/jobs/{job_id}/events/")["results"]]
                raise AssertionError(f"{job['status']}: {job['error_message']} {job['error_stack']} {story}")
            return None

        return until(look, timeout, f"what job {job_id} should come to") or {}

    def wait_ended(self, job_id: str, timeout: float = 150) -> dict[str, Any]:
        return self.wait(job_id, lambda job: job["status"] in TERMINAL, timeout)

    def patiently(self, path: str) -> dict[str, Any]:
        """GET while processes may be down: asks again until the product answers."""

        def ask() -> dict[str, Any] | None:
            try:
                answer = self.http.get(self.stack.url + path, timeout=10)
            except requests.RequestException:
                return None
            return dict(answer.json()) if answer.status_code == 200 else None

        return until(ask, 60, f"an answer from {path}") or {}


def make_account(stack: Stack, name: str) -> Account:
    code = (
        "from django.contrib.auth.models import User;"
        "from pipeline.models.access import *;"
        "from pipeline.models import ApiToken;"
        f"user, _ = User.objects.get_or_create(username={name!r}); token = new_token(API_TOKEN_PREFIX);"
        "ApiToken.objects.create(owner=user, name='test', token_hash=token_hash(token), hint=token[-4:]); print(token)"
    )
    token = stack.manage("shell", "--no-imports", "-c", code).strip().splitlines()[-1]
    http = requests.Session()
    http.headers["Authorization"] = f"Bearer {token}"
    return Account(name, stack, http)
