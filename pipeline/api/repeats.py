"""`Idempotency-Key`: a request that makes something may be sent again, and makes it once.

The answer is stored in the transaction that makes the thing. A crash leaves both or neither, and of requests side by
side with one key the first makes it while the others wait for what it answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.db.models.functions import Now
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import APIException, ParseError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from pipeline.api.auth import person
from pipeline.killpoints import killpoint
from pipeline.models import AnsweredRequest
from pipeline.models.requests import KEPT

LONGEST_KEY = 255
REPLAYED = "Idempotent-Replayed"

IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Any text of your own, for example a UUID. Sent again within 24 hours, the request makes nothing new"
    " and is answered as it was the first time.",
)


class AnsweredBefore(Exception):
    """Not an error: what is to be answered was decided before."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


class KeyTaken(APIException):
    status_code = 422
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was sent with another request before. Take a new one for each new request."


class Repeatable:
    """A viewset some of whose actions may be sent again with the same `Idempotency-Key`.

    Such an action does what asks others (the provider, the file store) first, and hands what writes to `once`.
    """

    repeatable: frozenset[str] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]  # of APIView
        self._once = _Once.of(request) if self.action in self.repeatable else None  # type: ignore[attr-defined]
        if self._once is not None:
            self._once.look()

    def once(self, work: Callable[[], Response]) -> Response:
        """The answer of `work`, called in a transaction; AnsweredBefore when a request with this key was quicker."""
        return work() if self._once is None else self._once.do(work)

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, AnsweredBefore):
            return error.answer
        answer: Response = super().handle_exception(error)  # type: ignore[misc]  # of APIView
        return answer


@dataclass
class _Once:
    request: Request
    key: str

    @classmethod
    def of(cls, request: Request) -> _Once | None:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
            raise ParseError(f"An Idempotency-Key has 1 to {LONGEST_KEY} printable ASCII characters.")
        return cls(request, key)

    @cached_property
    def asked(self) -> str:
        return f"{self.request.method} {self.request.path}"

    @cached_property
    def fingerprint(self) -> str:
        """Of what is asked, whatever the order of names in it or the boundary between its parts."""
        digest = hashlib.sha256(self.asked.encode())
        given = self.request.data
        if isinstance(given, dict):
            given = {name: value for name, value in given.items() if not isinstance(value, UploadedFile)}
        digest.update(json.dumps(given, sort_keys=True).encode())
        for name, file in sorted(self.request.FILES.items()):
            digest.update(f"\n{name}={file.name}\n".encode("utf-8", "surrogatepass"))
            for chunk in file.chunks():
                digest.update(chunk)
            file.seek(0)
        return digest.hexdigest()

    def look(self) -> None:
        """Raise AnsweredBefore, or KeyTaken, when a request with this key was answered."""
        before = self._rows().filter(created_at__gt=Now() - KEPT).first()
        if before is not None:
            self._give(before)

    def do(self, work: Callable[[], Response]) -> Response:
        mine = AnsweredRequest(
            owner=person(self.request), key=self.key, asked=self.asked[:300], fingerprint=self.fingerprint
        )
        with transaction.atomic():
            self._rows().filter(created_at__lte=Now() - KEPT).delete()
            # Waits here while another transaction has inserted the key; does nothing if that one was committed.
            AnsweredRequest.objects.bulk_create([mine], ignore_conflicts=True)
            before = self._rows().get()
            if before.pk != mine.pk:
                self._give(before)
            answer = work()
            mine.status = answer.status_code
            mine.location = answer.headers.get("Location", "")
            mine.body = JSONRenderer().render(answer.data).decode()
            AnsweredRequest.objects.filter(pk=mine.pk).update(
                status=mine.status, location=mine.location, body=mine.body
            )
            killpoint("answer.before_commit")
        killpoint("answer.after_commit")
        return answer

    def _rows(self) -> Any:
        return AnsweredRequest.objects.filter(owner=person(self.request), key=self.key)

    def _give(self, before: AnsweredRequest) -> None:
        if before.fingerprint != self.fingerprint:
            raise KeyTaken
        headers = {REPLAYED: "true"} | ({"Location": before.location} if before.location else {})
        raise AnsweredBefore(Response(json.loads(before.body), status=before.status, headers=headers))
