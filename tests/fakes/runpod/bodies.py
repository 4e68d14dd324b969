"""Strict request bodies: what is not in the schema is refused by name, as the real API does."""

from __future__ import annotations

from typing import Any

WHOLE, NUMBER, TEXT, YESNO = "whole number", "number", "string", "boolean"
MAP_OF_TEXT = "map of strings"

_MOUNTS = {"persistent": {"size": WHOLE, "path": TEXT}, "network": [{"volumeId": TEXT, "path": TEXT}]}
_GPU = {
    "id": TEXT,
    "count": WHOLE,
    "allowedCudaVersions": [TEXT],
    "minCudaVersion": TEXT,
    "minRamPerGpu": WHOLE,
    "minVcpuCountPerGpu": WHOLE,
}
CREATE: dict[str, Any] = {
    "name": TEXT,
    "image": TEXT,
    "templateId": TEXT,
    "gpu": _GPU,
    "cpu": {"id": TEXT, "vcpuCount": WHOLE},
    "cloud": ("SECURE", "COMMUNITY"),
    "dataCenterIds": [TEXT],
    "disk": WHOLE,
    "mounts": _MOUNTS,
    "ports": [TEXT],
    "env": MAP_OF_TEXT,
    "registry": TEXT,
    "args": TEXT,
    "cmd": [TEXT],
    "entrypoint": [TEXT],
    "startSsh": YESNO,
    "startJupyter": YESNO,
    "globalNetworking": YESNO,
}
PATCH = {
    key: CREATE[key]
    for key in ("name", "image", "args", "cmd", "entrypoint", "disk", "ports", "env", "registry", "mounts")
} | {"locked": YESNO, "globalNetworking": YESNO}
ACTION: dict[str, Any] = {"action": ("start", "stop", "restart", "terminate")}
REGISTRY: dict[str, Any] = {"name": TEXT, "username": TEXT, "password": TEXT}
VOLUME: dict[str, Any] = {"name": TEXT, "size": WHOLE, "dataCenter": TEXT, "type": ("STANDARD", "HIGH_PERFORMANCE")}


def problems(value: Any, schema: Any, where: str = "body") -> list[dict[str, str]]:
    """What is wrong with a body, each with its place; empty when nothing is."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return [_problem(where, "must be an object")]
        found = [_problem(f"{where}.{key}", f"unknown field '{key}'") for key in value if key not in schema]
        return found + [
            problem for key in value if key in schema for problem in problems(value[key], schema[key], f"{where}.{key}")
        ]
    if isinstance(schema, list):
        if not isinstance(value, list):
            return [_problem(where, "must be an array")]
        return [problem for n, item in enumerate(value) for problem in problems(item, schema[0], f"{where}[{n}]")]
    if isinstance(schema, tuple):
        return [] if value in schema else [_problem(where, f"must be one of {', '.join(schema)}")]
    return [] if _fits(value, schema) else [_problem(where, f"must be a {schema}")]


def missing(value: Any, required: tuple[str, ...]) -> list[dict[str, str]]:
    return [_problem(f"body.{key}", f"missing field '{key}'") for key in required if not value.get(key)]


def _fits(value: Any, kind: str) -> bool:
    if kind == MAP_OF_TEXT:
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    if isinstance(value, bool):
        return kind == YESNO
    return isinstance(value, {WHOLE: int, NUMBER: (int, float), TEXT: str, YESNO: bool}[kind])  # type: ignore[arg-type]


def _problem(where: str, message: str) -> dict[str, str]:
    return {"location": where, "message": message}
