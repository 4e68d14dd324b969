"""Request bodies of the API: JSON of bounded size and depth, that PostgreSQL can store whatever field it lands in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from django.http import UnreadablePostError
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "too_large"
    default_detail = f"The body is larger than {MAX_BYTES // 1024} kB."


class StrictJSONParser(BaseParser):
    """Refuses with 400 what would become a 500 later: NUL, half a surrogate pair, NaN, endless nesting."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        try:
            raw = stream.read(MAX_BYTES + 1)
        except UnreadablePostError as error:
            raise ParseError("The request ended before its body was complete. Send it again.") from error
        if len(raw) > MAX_BYTES:
            raise BodyTooLarge()
        try:
            value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise ParseError("The body is not UTF-8 text.") from error
        except RecursionError as error:
            raise ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.") from error
        except ValueError as error:  # JSONDecodeError, and whole numbers of thousands of digits
            raise ParseError(f"The body is not JSON: {str(error)[:200]}.") from error
        _check(value)
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not a JSON number. Leave the value out or send null.")


def _check(value: Any) -> None:
    """Walk the value without recursion."""
    rest: list[tuple[Any, int]] = [(value, 1)]
    while rest:
        one, depth = rest.pop()
        if depth > MAX_DEPTH:
            raise ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(one, str):
            _check_text(one)
        elif isinstance(one, float) and not math.isfinite(one):
            raise ParseError("A number in the body is too large.")
        elif isinstance(one, list):
            rest += [(item, depth + 1) for item in one]
        elif isinstance(one, dict):
            for key in one:
                _check_text(key)
            rest += [(item, depth + 1) for item in one.values()]


def _check_text(text: str) -> None:
    if "\x00" in text:
        raise ParseError("A text in the body holds a NUL character. Leave it out.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ParseError("A text in the body holds half a surrogate pair, which is not a character.")
