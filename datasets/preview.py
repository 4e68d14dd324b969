"""Rows of a dataset as the model will see them, for people to look at."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from datasets import storage
from datasets.models import Dataset
from training.records import RecordFormat, RowProblem, detect, example_turns, parse_line, read_lines, read_row

MAX_ROWS = 100
MAX_TURN_CHARACTERS = 20_000
MAX_TURNS = 500
MAX_CHARACTERS = 1_000_000
MAX_LINES_WITHOUT_INDEX = 200_000


def preview(dataset: Dataset, offset: int, limit: int) -> dict[str, Any]:
    """Read up to `limit` lines after the first `offset` ones. Raises FileNotFoundError.

    {"offset", "limit", "lines": total or None before the check, "next_offset": None at the end of the file,
     "rows": [{"line", "turns": [{"role", "content", "tool_calls"?, "truncated"?}], "problems": [...]}]}
    """
    notes = dataset.check_state or {}
    if "index" not in notes:  # not checked yet: no note of where lines begin
        offset = min(offset, MAX_LINES_WITHOUT_INDEX)
    line, start = _nearest(notes, offset + 1)
    rows: list[dict[str, Any]] = []
    characters, next_offset = 0, None
    with storage.open_from(dataset.storage_bucket, dataset.storage_path, start) as stream:
        for number, _, content in read_lines(stream, line):
            if number <= offset:
                continue
            if number > offset + limit or characters > MAX_CHARACTERS:
                next_offset = number - 1
                break
            row = _row(content, dataset.format or dataset.given_format)
            if row:
                rows.append({"line": number, **row})
                characters += sum(len(turn["content"]) for turn in row["turns"])
    return {
        "offset": offset,
        "limit": limit,
        "lines": dataset.report.get("lines"),
        "next_offset": next_offset,
        "rows": rows,
    }


def render_turns(
    turns: list[dict[str, Any]], max_characters: int = MAX_TURN_CHARACTERS, max_turns: int = MAX_TURNS
) -> list[dict[str, Any]]:
    """Turns short enough to be shown; a shortened turn, or the last one before left out ones, has `truncated`."""
    rendered = []
    for turn in turns[:max_turns]:
        shown = {"role": turn["role"], "content": turn.get("content", "")}
        if turn.get("tool_calls"):
            calls = json.dumps(turn["tool_calls"], ensure_ascii=False)
            if len(calls) > max_characters:
                shown["content"] = f"{shown['content']}\n{calls}".strip()
            else:
                shown["tool_calls"] = turn["tool_calls"]
        if len(shown["content"]) > max_characters:
            shown |= {"content": shown["content"][:max_characters], "truncated": True}
        rendered.append(shown)
    if len(turns) > max_turns:
        rendered[-1]["truncated"] = True
    return rendered


def _row(content: bytes | RowProblem, known_format: str) -> dict[str, Any] | None:
    row = parse_line(content) if isinstance(content, bytes) else content
    if isinstance(row, RowProblem):
        return None if row.code == "blank" else {"turns": [], "problems": [dataclasses.asdict(row)]}
    fmt = RecordFormat(known_format) if known_format else detect(row)
    example, problems = read_row(row, fmt) if fmt else (None, [unknown_format(row)])
    turns = render_turns(example_turns(example)) if example else []
    return {"turns": turns, "problems": [dataclasses.asdict(problem) for problem in problems]}


def unknown_format(row: dict[str, Any]) -> RowProblem:
    keys = ", ".join(f'"{key[:30]}"' for key in list(row)[:6]).encode(errors="replace").decode().replace("\x00", "?")
    has = f"The row has only {keys}" if row else "The row is empty"
    hint = " Preference pairs are not trained on here." if "chosen" in row and "rejected" in row else ""
    return RowProblem(
        "unknown_format",
        f"{has}; it needs messages, conversations, instruction and output, prompt and completion, or text.{hint}",
    )


def _nearest(notes: dict[str, Any], line: int) -> tuple[int, int]:
    """Return (line number, byte offset) of the last indexed line that is not after `line`."""
    index, stride = notes.get("index") or [0], notes.get("index_stride") or 1
    entry = min((line - 1) // stride, len(index) - 1)
    return entry * stride + 1, index[entry]
