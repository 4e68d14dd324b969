"""Every error of the API as one shape: problem+json (RFC 9457) with a stable code and a sentence for each field.

{"type", "title", "status", "detail", "code", "errors": [{"field", "line", "code", "message"}]}
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DataError, OperationalError
from django.db.models import ProtectedError, RestrictedError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from pipeline.providers.base import ProviderError
from pipeline.providers.registry import UnknownProvider
from pipeline.services.errors import Conflict, InvalidInput, Refusal

CONTENT_TYPE = "application/problem+json"
NOT_FOUND = "There is no such thing here, or it is not yours."
NOT_SIGNED_IN = "Nobody is signed in. Send an API token of yours: Authorization: Bearer <token>. Settings makes them."


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[dict[str, Any]] | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Response:
    """`more` are further members of the body, where a program can act on them."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": errors or [],
    } | more
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def problem_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's EXCEPTION_HANDLER. None for what is a fault of ours: that becomes a 500 and is logged."""
    answer = _refused_by_service(error) or _refused_by_django(error) or _refused_by_framework(error, context)
    if answer is not None:
        set_rollback()
    return answer


def _refused_by_service(error: Exception) -> Response | None:
    match error:
        case InvalidInput():
            errors = [_field_error(one.field, one.code, one.message) for one in error.errors]
            return problem(400, error.code, _first_sentence(errors), errors=errors)
        case Conflict() | Refusal():
            return problem(409, error.code, str(error))
        case UnknownProvider():
            return problem(400, "unknown_provider", str(error))
        case ProviderError():
            return problem(
                503, "provider_unavailable", f"{error} Try again in a minute.", headers={"Retry-After": "60"}
            )
    return None


def _refused_by_django(error: Exception) -> Response | None:
    match error:
        case Http404() | ObjectDoesNotExist():
            return problem(404, "not_found", NOT_FOUND)
        case DjangoPermissionDenied():
            return problem(403, "permission_denied", "You may not do this.")
        case ProtectedError() | RestrictedError():
            return problem(409, "in_use", "Something else still needs this. Delete what uses it first.")
        case RequestDataTooBig():
            return problem(413, "too_large", "The request is too large.")
        case DjangoValidationError():
            errors = [_field_error("", "invalid", message) for message in error.messages]
            return problem(400, "invalid", _first_sentence(errors), errors=errors)
        case DataError():
            return problem(400, "out_of_range", "A value is larger than can be stored.")
        case OperationalError():
            return problem(
                503, "busy", "The database does not answer. Try again in a moment.", headers={"Retry-After": "2"}
            )
    return None


def _refused_by_framework(error: Exception, context: dict[str, Any]) -> Response | None:
    if not isinstance(error, exceptions.APIException):
        return None
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]  # set by APIView.handle_exception
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(error.wait)  # type: ignore[attr-defined]  # on Throttled, whole seconds
    if isinstance(error, exceptions.ValidationError):
        errors = list(_flatten("", error.get_full_details()))
        return problem(error.status_code, "invalid", _first_sentence(errors), errors=errors, headers=headers)
    code = getattr(error.detail, "code", None) or error.default_code
    return problem(error.status_code, code, _sentence(error, context), headers=headers)


def _sentence(error: exceptions.APIException, context: dict[str, Any]) -> str:
    """What is wrong and what to do, in place of the framework's own short words."""
    detail = str(error.detail if isinstance(error.detail, str) else error.default_detail)
    match error:
        case exceptions.NotAuthenticated():
            return NOT_SIGNED_IN
        case exceptions.NotFound() if detail == exceptions.NotFound.default_detail:
            return NOT_FOUND
        case exceptions.MethodNotAllowed():
            allowed = ", ".join(name for name in context["view"].allowed_methods if name not in ("HEAD", "OPTIONS"))
            return f"This address does not answer {context['request'].method}, only {allowed}."
        case exceptions.UnsupportedMediaType():
            types = " or ".join(parser.media_type for parser in context["view"].get_parsers())
            return f"The body is not in a form that is understood here. Send it with Content-Type: {types}."
        case exceptions.Throttled():
            seconds: int = getattr(error, "wait", 1)  # set by its constructor
            return f"Too many requests. Wait {seconds} second{'s' * (seconds != 1)}, then send this again."
    return detail


def _flatten(path: str, details: Any) -> Iterator[dict[str, Any]]:
    """REST framework's nested details as flat ones: {"gpu_config": {"count": [...]}} becomes gpu_config.count."""
    if isinstance(details, list):
        for index, one in enumerate(details):
            # A list of messages belongs to the field; a list of objects are the items of the field's value.
            nested = not (isinstance(one, dict) and "message" in one and "code" in one)
            yield from _flatten(f"{path}.{index}".lstrip(".") if nested else path, one)
    elif set(details) == {"message", "code"}:
        yield _field_error(path, details["code"], str(details["message"]))
    else:
        for name, inner in details.items():
            own = path if name == api_settings.NON_FIELD_ERRORS_KEY else f"{path}.{name}".lstrip(".")
            yield from _flatten(own, inner)


def _field_error(field: str, code: str, message: str) -> dict[str, Any]:
    return {"field": field, "line": None, "code": code, "message": message}


def _first_sentence(errors: list[dict[str, Any]]) -> str:
    if not errors:
        return "The request is not valid."
    first = errors[0]
    text = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return text if len(errors) == 1 else f"{text} ({len(errors) - 1} more in “errors”.)"
