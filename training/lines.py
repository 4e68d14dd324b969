"""Lines of a dataset file: cutting a stream into lines, and a line into an object. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, NoReturn

MAX_LINE_BYTES = 1_000_000
ENDLESS_LINE_BYTES = 64_000_000
MAX_DEPTH = 32
ARRAY_HINT = " The file looks like one JSON array; put each row on a line of its own."
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class RowProblem:
    """One thing wrong with a row: a stable code, a sentence, and where (`messages[2].content`, or a column)."""

    code: str
    message: str
    field: str = ""
    column: int | None = None


def read_lines(
    stream: BinaryIO, first_number: int = 1, max_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, int, bytes | RowProblem]]:
    """Yield (line number, bytes consumed by the line, line or problem) while holding one line at most.

    A line over `max_bytes` is skipped to its end and comes out as a problem. The line keeps its line break. A line over
    64 MB is the problem `endless_line` and ends the reading: what follows it cannot be rows either.
    """
    number = first_number
    while True:
        line = stream.readline(max_bytes + 2)
        if not line:
            return
        consumed, begin = len(line), line[:1]
        if len(line.rstrip(b"\r\n")) <= max_bytes:
            yield number, consumed, line
        else:
            while line and not line.endswith(b"\n") and consumed <= ENDLESS_LINE_BYTES:
                line = stream.readline(1 << 16)
                consumed += len(line)
            problem = too_long(consumed, max_bytes, is_array=begin == b"[")
            if consumed > ENDLESS_LINE_BYTES:
                yield number, consumed, replace(problem, code="endless_line")
                return
            yield number, consumed, problem
        number += 1


def parse_line(line: bytes) -> dict[str, Any] | RowProblem:
    """Return the object that stands in one line, or why there is none (`blank` for a blank line). Never raises."""
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        return RowProblem("encoding", "The file is in UTF-16; save it as UTF-8.")
    line = line.removeprefix(_BOM).rstrip()
    if not line:
        return RowProblem("blank", "The line is blank.")
    if len(line) > MAX_LINE_BYTES:
        return too_long(len(line), MAX_LINE_BYTES, is_array=line[:1] == b"[")
    if b"\x00" in line:
        return RowProblem("nul", "The line contains a NUL byte; remove it.", column=line.index(b"\x00") + 1)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return RowProblem(
            "encoding",
            f"Byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8.",
            column=error.start + 1,
        )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        hint = ""
        first = text.lstrip()[:1]
        if first == "[":
            hint = ARRAY_HINT
        elif first != "{":
            hint = ' Each line must be a JSON object, such as {"text": "..."}.'
        return RowProblem(
            "json",
            f"The line is not JSON: {error.msg.removesuffix(' at')} at column {error.colno}.{hint}",
            column=error.colno,
        )
    except RecursionError:
        return too_deep()
    except _NotFinite as error:
        return RowProblem("not_finite", f"The line contains {error}, which is not JSON; use null or a number.")
    except ValueError:
        return RowProblem("json", "The line contains a number with too many digits.")
    if not isinstance(value, dict):
        hint = " Put each row on a line of its own." if isinstance(value, list) else ""
        return RowProblem("not_object", f"The line holds {kind(value)}, not a JSON object.{hint}")
    return value


class _NotFinite(ValueError):
    pass


def _refuse_constant(name: str) -> NoReturn:
    raise _NotFinite(name)


decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def too_deep() -> RowProblem:
    return RowProblem("too_deep", f"The row is nested deeper than {MAX_DEPTH} levels.")


def too_long(size: int, limit: int, is_array: bool = False) -> RowProblem:
    hint = ARRAY_HINT if is_array else " Split it into several rows."
    bytes_read = f"more than {size:,}" if size > ENDLESS_LINE_BYTES else f"{size:,}"
    return RowProblem("too_long", f"The line has {bytes_read} bytes; a row may have {limit:,} at most.{hint}")


def kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
