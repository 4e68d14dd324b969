"""The HTTP side of the wire between the server and a training program. Thin: who calls, what they sent, one service."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from pipeline import bootstrap, callback_tokens, ingest, runs
from pipeline.models import Attempt
from pipeline.models.access import token_hash
from pipeline.services import calling_back
from pipeline.services.errors import Conflict, InvalidInput
from pipeline.wire.body import Problem, read_json
from pipeline.wire.floods import Flood, note_items, note_stranger
from training import bundle
from training.contract import MAX_BATCH_EVENTS, Stop

MAX_BATCH_POINTS = 10_000


def program(request: HttpRequest) -> HttpResponseBase:
    """The training program as one file. It holds no secret, so whoever asks may have it."""
    path = bundle.build(settings.STOKER_HOME / "training.pyz")
    etag = f'"{hashlib.sha256(path.read_bytes()).hexdigest()}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified()
    return FileResponse(path.open("rb"), as_attachment=True, filename="training.pyz", headers={"ETag": etag})


def _with_token(request: HttpRequest, address: dict[str, Any], column: str = "token_hash") -> Attempt:
    return _authenticate(request, address.pop("job_id"), column)


def _by_address(request: HttpRequest, address: dict[str, Any]) -> Attempt:
    """The attempt whose callback address it is: 404 for any other address, 410 when it is over."""
    attempt = callback_tokens.attempt_of(address.pop("token"))
    if attempt is None:
        note_stranger(request)
        raise Problem(404, "not_found", "There is no such callback address.")
    if not attempt.is_open:
        raise _over()
    return attempt


def _wire(
    method: str, *, admit: Callable[[HttpRequest, dict[str, Any]], Attempt] = _with_token
) -> Callable[[Callable[..., dict[str, Any]]], Callable[..., HttpResponse]]:
    """Wrap a view of a job: checks method and caller, hands over the attempt, turns problems into problem+json.

    `admit` takes what tells the attempt out of the parts of the address; the view gets the other parts.
    """

    def decorate(view: Callable[..., dict[str, Any]]) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @functools.wraps(view)
        def wrapped(request: HttpRequest, **address: Any) -> HttpResponse:
            try:
                if request.method != method:
                    raise Problem(405, "method", f"Use {method} here.")
                status, answer = 200, view(request, admit(request, address), **address)
                status = answer.pop("_status", status)
                return JsonResponse(answer, status=status, headers={"Cache-Control": "no-store"})
            except Flood as flood:
                return _problem(flood, retry_after=flood.seconds)
            except Problem as problem:
                return _problem(problem)
            except ingest.AttemptOver:
                return _problem(_over())
            except InvalidInput as error:
                errors = [asdict(one) for one in error.errors[:100]]
                return _problem(Problem(422, error.code, "Nothing in this request could be stored.", errors=errors))
            except bootstrap.Expired as error:
                return _problem(Problem(410, error.code, str(error)))
            except Conflict as error:
                return _problem(Problem(409, error.code, str(error), **getattr(error, "extra", {})))
            except DatabaseError:
                busy = Problem(503, "busy", "The database does not answer. Keep what you have and send it again.")
                return _problem(busy, retry_after=2)

        return wrapped

    return decorate


@_wire("POST", admit=functools.partial(_with_token, column="bootstrap_hash"))
def exchange(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    return bootstrap.exchange(attempt.pk, read_json(request)).to_json()


@_wire("GET")
def spec(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    return runs.build_spec(attempt).to_json()


@_wire("POST")
def metrics(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    body = read_json(request)
    items = body if isinstance(body, list) else [body]
    if len(items) > MAX_BATCH_POINTS:
        raise Problem(413, "too_many", f"Send at most {MAX_BATCH_POINTS} points in one request.")
    note_items(attempt, len(items))
    receipt = ingest.record_metrics(attempt.pk, items)
    rejected = [asdict(error) for error in receipt.rejected[:100]]
    return {"stored": receipt.stored, "stop": _stop(receipt.stop)} | ({"errors": rejected} if rejected else {})


@_wire("POST")
def events(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    body = read_json(request)
    lines = body.get("events") if isinstance(body, dict) else None
    if not isinstance(lines, list):
        raise Problem(422, "invalid", "Send an object with a list named “events”.")
    if len(lines) > MAX_BATCH_EVENTS:
        raise Problem(413, "too_many", f"Send at most {MAX_BATCH_EVENTS} event lines in one request.")
    note_items(attempt, len(lines))
    receipt = ingest.record_events(attempt.pk, lines)
    return {
        "acked": receipt.acked,
        "stop": _stop(receipt.stop),
        "save": receipt.save,
        "seconds_left": receipt.seconds_left,
    }


@_wire("POST")
def artifacts(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    artifact, upload = runs.announce_artifact(attempt, read_json(request))
    return {"_status": 201, "id": str(artifact.pk), "state": artifact.state, "upload": upload}


@_wire("POST")
def complete_artifact(request: HttpRequest, attempt: Attempt, artifact_id: UUID) -> dict[str, Any]:
    artifact = runs.complete_artifact(attempt, artifact_id)
    return {"id": str(artifact.pk), "state": artifact.state}


@_wire("POST")
def finish(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    return {"acked": runs.finish(attempt, read_json(request))}


@_wire("POST", admit=_by_address)
def callback(request: HttpRequest, attempt: Attempt) -> dict[str, Any]:
    calling_back.take(attempt, read_json(request))
    return {"taken": True}


def _authenticate(request: HttpRequest, job_id: UUID, column: str) -> Attempt:
    """The attempt whose token was sent: 401 for no or a wrong token, 404 for another job's, 410 when it is over."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem(401, "no_token", "Send the job token as “Authorization: Bearer <token>”.")
    attempt = Attempt.objects.filter(**{column: token_hash(token.strip())}).first()
    if attempt is None:
        note_stranger(request)
        raise Problem(401, "wrong_token", "This job token is not known.")
    if attempt.job_id != job_id:
        raise Problem(404, "not_found", "There is no such job for this token.")
    if not attempt.is_open:
        raise _over()
    return attempt


def _over() -> Problem:
    stop = asdict(Stop("attempt_over", grace_seconds=0))
    return Problem(410, "attempt_over", "This attempt has ended. Stop the program; nothing more is stored.", stop=stop)


def _stop(stop: Stop | None) -> dict[str, Any] | None:
    return asdict(stop) if stop else None


def _problem(problem: Problem, *, retry_after: int | None = None) -> JsonResponse:
    document = {
        "type": "about:blank",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    headers = {"Retry-After": str(retry_after)} if retry_after else {}
    return JsonResponse(
        document | problem.extra, status=problem.status, content_type="application/problem+json", headers=headers
    )
