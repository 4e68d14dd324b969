"""What the faults of calls make of an answer: another one instead, or the true one spoilt on its way."""

from __future__ import annotations

import json

from tests.fakes.runpod.faults import Fault
from tests.fakes.runpod.replies import HTML, PLAIN, Call, Reply, problem
from tests.fakes.runpod.world import World

PAGE = b"<!doctype html><html><head><title>Error</title></head><body><h1>Something is wrong</h1></body></html>"


def instead(fault: Fault, call: Call, world: World) -> Reply | None:
    """The answer when nothing is to be done; None lets the call take its course."""
    values = fault.values
    match fault.kind:
        case "cut":
            return Reply(0, cut="all")
        case "error" if not values["effect"]:
            return error(int(values["status"]), str(values["detail"]), html=bool(values["html"]))
        case "down":
            return error(int(values["status"]), "", html=bool(values["html"]))
        case "rate_limit":
            after = values["retry_after"]
            headers = {} if after is None else {"Retry_After": str(after)}
            return problem(429, "rate limit exceeded for the minute window", **headers)
        case "no_capacity":
            return problem(400, str(values["detail"]))
        case "no_funds":
            return problem(402, "insufficient balance: at least one hour of credit is needed")
        case "not_allowed":
            return problem(403, "this GPU pool is not allowed for your account")
        case "blocked":
            return blocked()
        case "revoked":
            return problem(401, "invalid or missing API key")
        case "pretend":
            return Reply(204)
        case "plant":
            world.plant(str(values["pod"]))
    return None


def spoilt(fault: Fault, call: Call, reply: Reply) -> Reply:
    """The true answer as it arrives."""
    values = fault.values
    match fault.kind:
        case "lost":
            reply.cut = "all"
        case "short":
            reply.cut = "half"
        case "delay":
            reply.delay = float(values["seconds"])
        case "error" if values["effect"]:
            return error(int(values["status"]), str(values["detail"]), html=bool(values["html"]))
        case "html":
            return Reply(200, raw=PAGE, content_type=HTML)
        case "garbled":
            body = json.dumps(reply.document).encode()
            reply.raw = body[: len(body) // 2]
        case "no_id" if isinstance(reply.document, dict):
            reply.document = {key: value for key, value in reply.document.items() if key != "id"}
        case "empty_list" if reply.status == 200:
            reply.document = {"pods": [], "pagination": {"nextCursor": None, "hasNextPage": False}}
        case "no_pagination" if isinstance(reply.document, dict):
            reply.document = {"pods": reply.document["pods"]}
    return reply


def error(status: int, detail: str, *, html: bool) -> Reply:
    return Reply(status, raw=PAGE, content_type=HTML) if html else problem(status, detail)


def blocked() -> Reply:
    """As the network in front of the API turns away clients that it takes for robots."""
    return Reply(403, raw=b"error code: 1010", content_type=PLAIN)
