"""What the OpenAPI document says beyond what the views say themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from training.hyperparameters import FIELDS, FieldType, Hyperparameter

_TYPES = {FieldType.INT: "integer", FieldType.FLOAT: "number", FieldType.BOOL: "boolean", FieldType.STR: "string"}


GUIDE = Path(__file__).parents[2] / "docs" / "api.md"


class ApiTokenScheme(OpenApiAuthenticationExtension):  # being defined registers it
    target_class = "pipeline.api.auth.ApiTokenAuthentication"
    name = "apiToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token of yours: /settings/ or POST /api/tokens/.",
        }


def _property(field: Hyperparameter) -> dict[str, Any]:
    described = {"title": field.label, "description": field.help, "default": field.default}
    if field.type is FieldType.CHOICE:
        return described | {"type": "string", "enum": list(field.choices)}
    if field.type is FieldType.LIST_OR_STR:
        return described | {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    limits = {"minimum": field.minimum, "maximum": field.maximum}
    return described | {"type": _TYPES[field.type]} | {key: value for key, value in limits.items() if value is not None}


HYPERPARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {field.name: _property(field) for field in FIELDS},
    "additionalProperties": False,
}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Every error has this shape (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong and what to do, for people."},
        "code": {"type": "string", "description": "Stable, for programs."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "line", "code", "message"],
                "properties": {
                    "field": {"type": "string", "description": "Dotted path in the request, blank for the whole."},
                    "line": {"type": "integer", "nullable": True, "description": "Line of an uploaded file."},
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
    },
}
_ERRORS = {
    "4XX": "The request cannot be done as it is.",
    "5XX": "The server cannot answer now. Try again later, after Retry-After where it is sent.",
}


def with_problems(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Postprocessing hook: every operation may answer with a problem, so none has to say so."""
    result.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            for status, description in _ERRORS.items():
                operation["responses"].setdefault(status, {"content": content, "description": description})
    return result


def with_guide(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Postprocessing hook: the guide stands above the calls. An installation without docs/ keeps the short words."""
    if GUIDE.exists():
        result["info"]["description"] = GUIDE.read_text(encoding="utf-8").removeprefix("# The API").lstrip()
    return result
