"""The imitated API: from a call to what is answered. Which faults touch an answer is decided here, too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.runpod import answers, bodies
from tests.fakes.runpod.faults import CALL, Faults
from tests.fakes.runpod.limits import Limits
from tests.fakes.runpod.pod import Pod
from tests.fakes.runpod.replies import Call, Reply, problem
from tests.fakes.runpod.rest import Rest
from tests.fakes.runpod.world import Account, World

MAX_BODY = 102_400
ROUTES = [
    ("POST", r"/v2/pods", "create"),
    ("GET", r"/v2/pods", "list"),
    ("GET", r"/v2/pods/(?P<id>[^/]+)", "get"),
    ("PATCH", r"/v2/pods/(?P<id>[^/]+)", "update"),
    ("DELETE", r"/v2/pods/(?P<id>[^/]+)", "delete"),
    ("POST", r"/v2/pods/(?P<id>[^/]+)/action", "action"),
    ("GET", r"/v2/pods/(?P<id>[^/]+)/logs", "logs"),
    ("GET", r"/v2/catalog/gpus", "gpus"),
    ("GET", r"/v2/catalog/gpus/(?P<id>[^/]+)", "gpu"),
    ("GET", r"/v2/catalog/datacenters", "datacenters"),
    ("GET", r"/v2/billing/pods", "billing"),
    *(
        (method, rf"/v2/(?P<things>registries|network-volumes){tail}", "things")
        for method, tail in (("POST", ""), ("GET", ""), ("GET", "/(?P<id>[^/]+)"), ("DELETE", "/(?P<id>[^/]+)"))
    ),
    ("POST", r"/graphql", "graphql"),
]
SCHEMAS: dict[str, dict[str, Any]] = {"create": bodies.CREATE, "update": bodies.PATCH, "action": bodies.ACTION}
# What the key of a pod may do, and with its own pod only.
OWN = ("delete", "action", "graphql")


class Api:
    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.limits = Limits(world.clock)
        self.rest = Rest(world, faults)

    def call(self, method: str, path: str, query: Mapping[str, str], raw: bytes) -> tuple[Call, dict[str, str] | None]:
        """The call as faults and records see it, and the words in its path; None for a path that does not exist."""
        call = Call(method, path, query, _json(raw), at=self.world.clock.now())
        for known, pattern, operation in ROUTES:
            match = re.fullmatch(pattern, path) if known == method else None
            if match:
                words = match.groupdict()
                call.operation = operation
                self._describe(call, words)
                return call, words
        return call, None

    def answer(self, call: Call, words: dict[str, str] | None, raw: bytes, agent: str, key: str) -> Reply:
        """Do what is asked, unless a fault has it otherwise."""
        self.world.tick()
        found = self.faults.for_call(call, CALL, self.world.clock.now())
        call.faults = tuple(fault.kind for fault in found)
        reply: Reply | None = None
        for fault in found:
            reply = reply or answers.instead(fault, call, self.world)
        if reply is None:
            reply = self._honest(call, words, raw, agent, key)
        for fault in found:
            reply = answers.spoilt(fault, call, reply)
        return reply

    def _honest(self, call: Call, words: dict[str, str] | None, raw: bytes, agent: str, key: str) -> Reply:
        if not agent or agent.startswith("Python-urllib"):
            return answers.blocked()
        account = self.world.account_of(key)
        pod = None if account else self.world.pod_of_key(key)
        if account is None and pod is None:
            return problem(401, "invalid or missing API key")
        call.who = f"account {account.id}" if account else f"pod {pod.id if pod else ''}"
        limited, headers = self.limits.count(call.who)
        reply = limited or self._permitted(call, words, raw, account, pod)
        reply.headers = headers | reply.headers
        return reply

    def _permitted(
        self, call: Call, words: dict[str, str] | None, raw: bytes, account: Account | None, pod: Pod | None
    ) -> Reply:
        if words is None:
            return problem(404, f"no such route: {call.method} {call.path}")
        if len(raw) > MAX_BODY:
            return problem(413, f"the request body is larger than {MAX_BODY} bytes")
        if account is None:
            assert pod is not None
            account = self.world.accounts[pod.account]
            if not self._own(call, words, pod):
                return problem(403, "this key may only terminate its own pod")
        if call.method in ("POST", "PATCH"):
            if call.body is None:
                return problem(400, "the request body is not JSON")
            schema = SCHEMAS.get(call.operation)
            if schema and (wrong := bodies.problems(call.body, schema)):
                return problem(422, f"validation failed: {wrong[0]['message']}", wrong)
        handle: Callable[[Call, dict[str, str], Account], Reply] = getattr(self.rest, call.operation)
        with self.world.lock:
            return handle(call, words, account)

    def _own(self, call: Call, words: dict[str, str], pod: Pod) -> bool:
        if pod.traits.get("no_own_key") or call.operation not in OWN:
            return False
        if call.operation == "graphql":
            return pod.id in json.dumps(call.body)
        ends = call.operation == "delete" or (isinstance(call.body, dict) and call.body.get("action") == "terminate")
        return ends and words["id"] == pod.id

    def _describe(self, call: Call, words: Mapping[str, str]) -> None:
        """Fill in what faults go by."""
        if "pods/" in call.path and (pod := self.world.pods.get(words.get("id", ""))):
            call.pod, call.gpu, call.cloud, call.places = pod.name, pod.gpu, pod.cloud, (pod.place,)
        elif call.operation == "create" and isinstance(call.body, dict):
            body = call.body
            gpu = body.get("gpu") if isinstance(body.get("gpu"), dict) else {}
            call.pod, call.gpu = str(body.get("name", "")), str(gpu.get("id", ""))  # type: ignore[union-attr]
            call.cloud = str(body.get("cloud", "SECURE"))
            places = body.get("dataCenterIds")
            call.places = tuple(map(str, places)) if isinstance(places, list) else ()


def _json(raw: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return None
