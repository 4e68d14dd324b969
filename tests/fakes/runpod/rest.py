"""The operations themselves, honest ones: one method for each, with the world's lock held."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from typing import Any

from tests.fakes.runpod import billing, bodies, catalog, lives
from tests.fakes.runpod.faults import LIFE, NO_CAPACITY, Fault, Faults
from tests.fakes.runpod.pod import ACTIONS, Pod
from tests.fakes.runpod.replies import Call, Reply, problem
from tests.fakes.runpod.world import Account, World

PAGE_SIZE = 1000
MAX_ENV = 50
NOT_FOUND = "pod not found"
LOCKED = "the pod is locked"


class Rest:
    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults
        self.billing_lag = 0.0  # seconds by which billing records are late

    # Pods

    def create(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        body = call.body
        if wrong := bodies.missing(body, ("name",)):
            return problem(422, f"validation failed: {wrong[0]['message']}", wrong)
        refusal = self._rules(body) or self._affordable(body, account)
        if refusal:
            return refusal
        now = self.world.clock.now()
        faults = self.faults.for_call(call, LIFE, now)
        boot = lives.boot_of(self.world.boot, faults)
        pods = [self.world.create(account, body, boot=boot)]
        if any(fault.kind == "duplicate" for fault in faults):
            pods.append(self.world.create(account, body, boot=boot))
        for pod in pods:
            for fault in faults:
                lives.strike(pod, fault, now)
        self.world.save()
        view = self.faults.for_view(call, [call.pod], now)
        return Reply(201, lives.shown(pods[0], view, now, may_hide=False))

    def list(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        limit = _whole(call.query.get("limit"), PAGE_SIZE)
        if limit is None or not 1 <= limit <= PAGE_SIZE:
            return problem(400, f"limit must be a number from 1 to {PAGE_SIZE}")
        now = self.world.clock.now()
        pods = list(self.world.live(account.id))[::-1]
        if cursor := call.query.get("cursor"):
            at = next((n for n, pod in enumerate(pods) if _cursor(pod) == cursor), None)
            if at is None:
                return problem(400, "unknown cursor")
            pods = pods[at:]
        page, rest = pods[:limit], pods[limit:]
        view = self.faults.for_view(call, [pod.name for pod in page], now)
        documents = [lives.shown(pod, view, now) for pod in page]
        for pod in page:
            self.world.polled(pod)
        pagination = {"nextCursor": _cursor(rest[0]) if rest else None, "hasNextPage": bool(rest)}
        return Reply(200, {"pods": [each for each in documents if each is not None], "pagination": pagination})

    def get(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pod, view = self._find(call, words, account)
        if pod is None:
            return problem(404, NOT_FOUND)
        document = lives.shown(pod, view, self.world.clock.now(), may_hide=False)
        self.world.polled(pod)
        return Reply(200, document)

    def update(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pod, view = self._find(call, words, account)
        if pod is None:
            return problem(404, NOT_FOUND)
        pod.body |= call.body
        pod.name = pod.body["name"]
        pod.traits["locked"] = call.body.get("locked", pod.traits.get("locked", False))
        if {"env", "image"} & call.body.keys():
            self.world.restart(pod)
        self.world.save()
        return Reply(200, lives.shown(pod, view, self.world.clock.now(), may_hide=False))

    def delete(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pod, _ = self._find(call, words, account)
        if pod is None:
            return problem(404, NOT_FOUND)
        if pod.traits.get("locked"):
            return problem(409, LOCKED)
        self.world.delete(pod)
        return Reply(204)

    def action(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pod, view = self._find(call, words, account)
        if pod is None:
            return problem(404, NOT_FOUND)
        action, status = call.body.get("action"), pod.status(self.world.clock.now())
        if pod.traits.get("locked") and action in ("stop", "terminate"):
            return problem(409, LOCKED)
        if action not in ACTIONS[status]:
            return problem(409, f"cannot {action} a pod that is {status}")
        if action == "terminate":
            self.world.delete(pod)
            return Reply(204)
        {"stop": self.world.stop, "start": self.world.start, "restart": self.world.restart}[action](pod)
        return Reply(200, lives.shown(pod, view, self.world.clock.now(), may_hide=False))

    def logs(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pod, _ = self._find(call, words, account)
        return problem(404, NOT_FOUND) if pod is None else Reply(200, stream_of=pod.id)

    # Catalogue and money

    def gpus(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        if refusal := _catalogue_rules(call):
            return refusal
        cloud = call.query.get("cloud")
        listed = [gpu for gpu in self.world.gpus.values() if cloud is None or gpu.price(cloud) is not None]
        return Reply(200, {"gpus": [gpu.as_json(with_stock="include" in call.query) for gpu in listed]})

    def gpu(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        gpu = self.world.gpus.get(words["id"])
        if gpu is None:
            return problem(404, "GPU type not found")
        return _catalogue_rules(call) or Reply(200, gpu.as_json(with_stock="include" in call.query))

    def datacenters(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        rows = [
            {"id": id_, "name": name, "region": id_[:2], "networkVolumeTypes": ["STANDARD"], "compliance": []}
            for id_, name in catalog.PLACES.items()
        ]
        return Reply(200, {"dataCenters": rows})

    def billing(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        pods = [pod for pod in self.world.pods.values() if pod.account == account.id]
        try:
            rows, metadata = billing.records(pods, call.query, self.world.clock.now(), self.billing_lag)
        except ValueError as error:
            return problem(400, str(error))
        return Reply(200, {"records": rows, "metadata": metadata})

    def graphql(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        """The two things that are asked of it: the balance, and the end of a pod."""
        body = call.body if isinstance(call.body, dict) else {}
        query = str(body.get("query", ""))
        if "podTerminate" in query:
            named = re.search(r'podId:\s*"([^"]+)"', query)
            id_ = named[1] if named else str(((body.get("variables") or {}).get("input") or {}).get("podId", ""))
            pod = self.world.pods.get(id_)
            if pod is None or pod.over or pod.account != account.id:
                return _graphql_error("pod not found to terminate")
            self.world.delete(pod)
            return Reply(200, {"data": {"podTerminate": None}})
        if "myself" not in query:
            return _graphql_error("Cannot query that field here: only myself and podTerminate are imitated.")
        return Reply(
            200,
            {
                "data": {
                    "myself": {
                        "id": account.id,
                        "email": f"{account.id}@imitated.invalid",
                        "clientBalance": float(round(self.world.balance(account), 6)),
                        "currentSpendPerHr": float(self.world.spend_per_hour(account)),
                        "spendLimit": 80,
                    }
                }
            },
        )

    # Registries and network volumes

    def things(self, call: Call, words: dict[str, str], account: Account) -> Reply:
        what = words["things"]
        kept = self.world.things[what]
        if call.method == "POST":
            schema = bodies.REGISTRY if what == "registries" else bodies.VOLUME
            wrong = bodies.problems(call.body, schema) or bodies.missing(call.body, tuple(schema)[:2])
            if wrong:
                return problem(422, f"validation failed: {wrong[0]['message']}", wrong)
            thing = {"id": Pod("", "", {}, 0, Decimal(0)).id, "type": "STANDARD", **call.body}
            shown = {k: thing.get(k) for k in (("id", "name") if what == "registries" else ("id", *bodies.VOLUME))}
            kept[thing["id"]] = shown | {"account": account.id}
            self.world.save()
            return Reply(201, shown)
        mine = {id_: _without_account(thing) for id_, thing in kept.items() if thing["account"] == account.id}
        if "id" not in words:
            return Reply(200, {"registries" if what == "registries" else "networkVolumes": [*mine.values()]})
        if words["id"] not in mine:
            return problem(404, "not found")
        if call.method == "GET":
            return Reply(200, mine[words["id"]])
        del kept[words["id"]]
        self.world.save()
        return Reply(204)

    # Helpers

    def _find(self, call: Call, words: dict[str, str], account: Account) -> tuple[Pod | None, list[Fault]]:
        """The pod of the path, if it is this account's and nothing hides it, and what changes how it is shown."""
        pod = self.world.pods.get(words["id"])
        if pod is None or pod.over or pod.account != account.id:
            return None, []
        now = self.world.clock.now()
        view = self.faults.for_view(call, [pod.name], now)
        return (None if lives.shown(pod, view, now) is None else pod), view

    def _rules(self, body: dict[str, Any]) -> Reply | None:
        if "templateId" in body:
            return problem(404, "template not found")
        if "image" not in body:
            return problem(400, "image or templateId is needed")
        if ("gpu" in body) == ("cpu" in body):
            return problem(400, "exactly one of gpu and cpu is needed")
        if "cpu" in body:
            return problem(400, "CPU pods are not imitated")
        if len(body.get("env", {})) > MAX_ENV:
            return problem(400, f"at most {MAX_ENV} environment variables are allowed")
        if {"persistent", "network"} <= body.get("mounts", {}).keys():
            return problem(400, "mounts.persistent and mounts.network exclude each other")
        gpu = self.world.gpus.get(body["gpu"].get("id", ""))
        if gpu is None:
            return problem(400, f"unknown GPU type {body['gpu'].get('id')!r}")
        cloud, count = body.get("cloud", catalog.SECURE), body["gpu"].get("count", 1)
        if not 1 <= count <= gpu.max_count:
            return problem(400, f"gpu.count must be from 1 to {gpu.max_count}")
        places = body.get("dataCenterIds")
        in_reach = places is None or bool(set(places) & catalog.PLACES.keys())
        if gpu.price(cloud) is None or gpu.stock == "NONE" or not in_reach:
            return problem(400, NO_CAPACITY)
        return None

    def _affordable(self, body: dict[str, Any], account: Account) -> Reply | None:
        price = self.world.gpus[body["gpu"]["id"]].price(body.get("cloud", catalog.SECURE))
        assert price is not None
        if self.world.balance(account) < price * body["gpu"].get("count", 1):
            return problem(402, "insufficient balance: at least one hour of credit is needed")
        return None


def _catalogue_rules(call: Call) -> Reply | None:
    if "include" in call.query and "product" not in call.query:
        return problem(400, "product is needed with include")
    return None


def _graphql_error(message: str) -> Reply:
    return Reply(200, {"errors": [{"message": message, "extensions": {"code": "BAD_USER_INPUT"}}], "data": None})


def _cursor(pod: Pod) -> str:
    return base64.urlsafe_b64encode(pod.id.encode()).decode()


def _whole(value: str | None, default: int) -> int | None:
    try:
        return default if value is None else int(value)
    except ValueError:
        return None


def _without_account(thing: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in thing.items() if key != "account"}
