"""`/_control/`: scripts the imitated provider from another process, or with curl.

GET    state            pods with their bills, accounts, faults, counts of calls
GET    calls            every call so far
GET    kinds            every fault there is
POST   fault            {"kind": "preempt", "name": "stoker-*", ...}
DELETE fault, fault/3   all are taken back, or one
POST   clock            {"advance": 3600} or {"speed": 60}
POST   account          {"key": "...", "deposit": 5, "revoked": true}
POST   stock            {"gpu": "NVIDIA L4", "stock": "NONE"}
POST   plant            {"name": "...", "count": 1}: pods of another hand
POST   billing          {"lag": 3600}
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.fakes.runpod.catalog import STOCK_LEVELS
from tests.fakes.runpod.clock import text
from tests.fakes.runpod.faults import KINDS, Nonsense
from tests.fakes.runpod.replies import Reply, problem

if TYPE_CHECKING:
    from tests.fakes.runpod import FakeRunPod


def answer(fake: FakeRunPod, method: str, what: str, query: dict[str, str], raw: bytes) -> Reply:
    try:
        body = json.loads(raw) if raw else {}
        if not isinstance(body, dict):
            raise ValueError("The body must be a JSON object.")
        return Reply(200, _do(fake, method, what, body))
    except Nonsense as error:
        return problem(422, str(error))
    except (KeyError, TypeError, ValueError, LookupError) as error:
        return problem(422, f"{type(error).__name__}: {error}. What there is stands in tests/fakes/runpod/control.py.")


def state(fake: FakeRunPod) -> dict[str, Any]:
    world = fake.world
    with world.lock:
        now = world.clock.now()
        pods = [
            {
                "id": pod.id,
                "name": pod.name,
                "account": pod.account,
                "status": pod.status(now),
                "gpu": pod.gpu,
                "count": pod.count,
                "cloud": pod.cloud,
                "createdAt": text(pod.created_at),
                "endedAt": text(pod.ended_at),
                "ending": pod.ending,
                "restarts": pod.restarts,
                "price": str(pod.rates[-1][1]),
                "bill": str(round(pod.bill(now), 8)),
            }
            for pod in world.pods.values()
        ]
        accounts = [
            dataclasses.asdict(account) | {"balance": str(round(world.balance(account), 8))}
            for account in world.accounts.values()
        ]
    return {
        "now": text(now),
        "speed": world.clock.speed,
        "pods": pods,
        "accounts": accounts,
        "faults": fake.faults.as_json(),
        "calls": dict(Counter(call.operation for call in fake.calls())),
    }


def _do(fake: FakeRunPod, method: str, what: str, body: dict[str, Any]) -> Any:
    name, _, rest = what.partition("/")
    match method, name:
        case "GET", "state":
            return state(fake)
        case "GET", "calls":
            return [dataclasses.asdict(call) for call in fake.calls()]
        case "GET", "kinds":
            return {kind: {"what": known.what, "values": known.values} for kind, known in KINDS.items()}
        case "POST", "fault":
            fault = fake.fault(**body)
            return dataclasses.asdict(fault) | {"what": KINDS[fault.kind].what}
        case "DELETE", "fault":
            return {"removed": fake.clear(int(rest) if rest else None)}
        case "POST", "clock":
            if "speed" in body:
                fake.clock.set_speed(float(body["speed"]))
            fake.clock.advance(float(body.get("advance", 0)))
            fake.world.tick()
            fake.world.save()
            return {"now": text(fake.clock.now()), "speed": fake.clock.speed}
        case "POST", "account":
            account = fake.account(body["key"], body.get("deposit"), revoked=body.get("revoked"))
            return dataclasses.asdict(account)
        case "POST", "stock":
            if body["stock"] not in STOCK_LEVELS:
                raise Nonsense(f"Stock is one of {', '.join(STOCK_LEVELS)}.")
            fake.world.gpus[body["gpu"]].stock = body["stock"]
            fake.world.save()
            return {"gpu": body["gpu"], "stock": body["stock"]}
        case "POST", "plant":
            pods = [fake.plant(body["name"], body.get("key", "")) for _ in range(int(body.get("count", 1)))]
            return {"ids": [pod.id for pod in pods]}
        case "POST", "billing":
            fake.api.rest.billing_lag = float(body["lag"])
            return {"lag": fake.api.rest.billing_lag}
    raise Nonsense(f"There is no {method} /_control/{what}. What there is stands in tests/fakes/runpod/control.py.")
