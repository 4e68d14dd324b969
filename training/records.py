"""Dataset rows: reading a line, naming its format, saying what is wrong with it, and what the model will see.

The server checks uploads with this file and the training program reads them with it, so a row that passed the check
cannot fail in the trainer. Standard library only.

An *example* is what a row becomes: `{"messages": [...]}` (plus "tools" where the row has them),
`{"prompt": ..., "completion": ...}` or `{"text": ...}`, with the roles that Hugging Face chat templates know.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from training.lines import MAX_DEPTH, MAX_LINE_BYTES, RowProblem, decoder, kind, parse_line, read_lines, too_deep

__all__ = [
    "MAX_DEPTH",
    "MAX_LINE_BYTES",
    "RecordFormat",
    "RowProblem",
    "check_row",
    "detect",
    "example_digest",
    "example_pairs",
    "example_turns",
    "parse_line",
    "read_lines",
    "read_row",
    "row_digest",
    "to_example",
    "training_pairs",
]

MAX_PROBLEMS_PER_ROW = 10

ROLES = ("system", "user", "assistant", "tool")
SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "tool": "tool",
    "observation": "tool",
}
_MAY_FOLLOW = {  # what the turn before must have been; None stands for the start (after a system turn)
    "user": (None, "assistant"),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


class RecordFormat(StrEnum):
    MESSAGES = "messages"
    CONVERSATIONS = "conversations"
    INSTRUCTION = "instruction"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"


def detect(row: dict[str, Any]) -> RecordFormat | None:
    """Name the format of a row by its keys alone, so that a row with a bad value still gets a useful problem."""
    if "messages" in row:
        return RecordFormat.MESSAGES
    if "conversations" in row:
        return RecordFormat.CONVERSATIONS
    if "instruction" in row:
        return RecordFormat.INSTRUCTION
    if "prompt" in row and "completion" in row:
        return RecordFormat.PROMPT_COMPLETION
    if "text" in row:
        return RecordFormat.TEXT
    return None


def read_row(row: dict[str, Any], fmt: RecordFormat) -> tuple[dict[str, Any] | None, list[RowProblem]]:
    """Return (example, []) for a good row and (None, problems) for a bad one. Never raises."""
    problems = _check_values(row)
    if problems:
        return None, problems
    reader = _Reader()
    example = getattr(reader, fmt.value)(row)
    if reader.problems:
        return None, reader.problems[:MAX_PROBLEMS_PER_ROW]
    return example, []


def check_row(row: dict[str, Any], fmt: RecordFormat) -> list[RowProblem]:
    return read_row(row, fmt)[1]


def to_example(row: dict[str, Any], fmt: RecordFormat) -> dict[str, Any]:
    """Return what the model will see. Raise ValueError with a sentence for a row that `check_row` objects to."""
    example, problems = read_row(row, fmt)
    if example is None:
        raise ValueError(problems[0].message)
    return example


def training_pairs(row: dict[str, Any], fmt: RecordFormat) -> int:
    """How many answers the row teaches: its assistant turns, or 1 where a row is one answer or one text."""
    return example_pairs(to_example(row, fmt))


def row_digest(row: dict[str, Any], fmt: RecordFormat) -> bytes:
    return example_digest(to_example(row, fmt))


def example_pairs(example: dict[str, Any]) -> int:
    turns = example.get("messages", example.get("completion"))
    if isinstance(turns, list):
        return sum(turn["role"] == "assistant" for turn in turns)
    return 1


def example_turns(example: dict[str, Any]) -> list[dict[str, Any]]:
    """Return any example as turns: a prompt as user, a completion as assistant, a text as the single role `text`."""
    if "messages" in example:
        return list(example["messages"])
    if "text" in example:
        return [{"role": "text", "content": example["text"]}]
    turns: list[dict[str, Any]] = []
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        part = example[name]
        turns += part if isinstance(part, list) else [{"role": role, "content": part}]
    return turns


def example_digest(example: dict[str, Any]) -> bytes:
    """Eight bytes that are equal for rows which differ only in white space or in the format they were written in."""
    digest = hashlib.blake2b(digest_size=8)
    for turn in example_turns(example):
        digest.update(turn["role"].encode())
        digest.update(b"\x1f")
        digest.update(" ".join(turn.get("content", "").split()).encode())
        if turn.get("tool_calls"):
            digest.update(json.dumps(turn["tool_calls"], sort_keys=True).encode())
        digest.update(b"\x1e")
    return digest.digest()


class _Reader:
    """Reads one row into an example and collects what is wrong with it. One method per format, named as the format."""

    def __init__(self) -> None:
        self.problems: list[RowProblem] = []

    def messages(self, row: dict[str, Any]) -> dict[str, Any]:
        return self._with_tools(row, self._turns(row.get("messages"), "messages", "role", "content"))

    def conversations(self, row: dict[str, Any]) -> dict[str, Any]:
        turns = row.get("conversations")
        keys = ("from", "value")
        if isinstance(turns, list) and turns and isinstance(turns[0], dict) and "role" in turns[0]:
            keys = ("role", "content")
        system = self._system(row)
        return self._with_tools(row, self._turns(turns, "conversations", *keys, names=SHAREGPT_ROLES, before=system))

    def instruction(self, row: dict[str, Any]) -> dict[str, Any]:
        answer = "output" if "output" in row or "response" not in row else "response"
        extra = "input" if "input" in row or "context" not in row else "context"
        instruction, output = self._text(row, "instruction"), self._text(row, answer)
        if row.get(extra) is not None and not isinstance(row[extra], str):
            self._say("type", f'"{extra}" must be text, not {kind(row[extra])}.', extra)
        elif row.get(extra):
            instruction = f"{instruction}\n\n{row[extra]}"
        turns = [*self._system(row), {"role": "user", "content": instruction}, {"role": "assistant", "content": output}]
        return {"messages": turns}

    def prompt_completion(self, row: dict[str, Any]) -> dict[str, Any]:
        prompt, completion = row.get("prompt"), row.get("completion")
        if isinstance(prompt, list) and isinstance(completion, list):
            whole = self._turns([*prompt, *completion], "prompt + completion", "role", "content")
            if not self.problems and (not prompt or not completion or whole[len(prompt)]["role"] != "assistant"):
                self._say(
                    "turn_order", "The prompt must end before an assistant turn, which the completion begins with."
                )
            return self._with_tools(row, whole, split=len(prompt))
        return {"prompt": self._text(row, "prompt"), "completion": self._text(row, "completion")}

    def text(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"text": self._text(row, "text")}

    def _turns(
        self,
        turns: Any,
        field: str,
        role_key: str,
        content_key: str,
        names: dict[str, str] | None = None,
        before: list[dict[str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        known = names or dict.fromkeys(ROLES)
        result = list(before or [])
        if not isinstance(turns, list):
            self._say("type", f'"{field}" must be a list of turns, not {kind(turns)}.', field)
            return result
        if not turns:
            self._say("empty", f'"{field}" is empty; a row needs at least a user and an assistant turn.', field)
            return result
        previous: str | None = None
        for index, turn in enumerate(turns):
            where, number = f"{field}[{index}]", index + 1
            if not isinstance(turn, dict):
                self._say("type", f"Turn {number} must be an object, not {kind(turn)}.", where)
                return result
            given = turn.get(role_key)
            if not isinstance(given, str) or given not in known:
                said = f'"{given[:40]}"' if isinstance(given, str) else kind(given)
                self._say("role", f'Turn {number} has {said} as "{role_key}"; use {_or(known)}.', f"{where}.{role_key}")
                return result
            role = names[given] if names else given
            if role == "system":
                if result:
                    self._say("turn_order", f"Turn {number} is a system turn; only the first turn may be one.", where)
            elif previous not in _MAY_FOLLOW[role]:
                after = f"a turn of {previous}" if previous else "the start"
                self._say(
                    "turn_order", f"Turn {number} is {_a(role)} turn right after {after}; {_EXPECTED[role]}", where
                )
            if role != "system":
                previous = role
            result.append(self._turn(turn, role, content_key, where, number))
            if len(self.problems) >= MAX_PROBLEMS_PER_ROW:
                return result
        if previous != "assistant":
            self._say("turn_order", "The last turn must be an assistant turn: it is what the model learns.", field)
        return result

    def _turn(self, turn: dict[str, Any], role: str, key: str, where: str, number: int) -> dict[str, Any]:
        result: dict[str, Any] = {"role": role}
        calls = turn.get("tool_calls")
        if calls:
            if role != "assistant":
                self._say(
                    "tool_calls", f"Turn {number} has tool calls; only an assistant turn may.", f"{where}.tool_calls"
                )
            result["tool_calls"] = self._tool_calls(calls, f"{where}.tool_calls", number)
        content = turn.get(key)
        if isinstance(content, list):
            content = self._text_parts(content, f"{where}.{key}", number)
        if content is None and calls:
            content = ""
        if not isinstance(content, str):
            self._say("type", f'"{key}" of turn {number} must be text, not {kind(content)}.', f"{where}.{key}")
            content = ""
        elif not content.strip() and not calls and role != "tool":
            self._say("empty", f"Turn {number} ({role}) is empty.", f"{where}.{key}")
        result["content"] = content
        for name in ("name", "tool_call_id"):
            if isinstance(turn.get(name), str):
                result[name] = turn[name]
        return result

    def _text_parts(self, parts: list[Any], where: str, number: int) -> str:
        texts = [
            part["text"]
            for part in parts
            if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)
        ]
        if len(texts) != len(parts):
            self._say("parts", f"Turn {number} has parts that are not text; only text can be trained on.", where)
            return "?"
        return "".join(texts)

    def _tool_calls(self, calls: Any, where: str, number: int) -> list[dict[str, Any]]:
        """Return calls as chat templates read them: {"type": "function", "function": {"name", "arguments": object}}."""
        result: list[dict[str, Any]] = []
        for call in calls if isinstance(calls, list) else [None]:
            function = call.get("function", call) if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
                self._say(
                    "tool_calls", f"Each tool call of turn {number} must be an object with a function name.", where
                )
                return []
            arguments = function.get("arguments", {})
            if isinstance(arguments, str):
                try:
                    arguments = decoder.decode(arguments or "{}")
                except (ValueError, RecursionError):
                    arguments = None
            if not isinstance(arguments, dict):
                self._say("tool_calls", f"The arguments of a tool call in turn {number} must be a JSON object.", where)
                return []
            result.append({"type": "function", "function": {"name": function["name"], "arguments": arguments}})
        return result

    def _with_tools(self, row: dict[str, Any], turns: list[dict[str, Any]], split: int | None = None) -> dict[str, Any]:
        example: dict[str, Any] = {"messages": turns}
        if split is not None:
            example = {"prompt": turns[:split], "completion": turns[split:]}
        tools = row.get("tools")
        if isinstance(tools, str) and tools.strip():
            try:
                tools = decoder.decode(tools)
            except (ValueError, RecursionError):
                self._say("tools", '"tools" is text but not a JSON list.', "tools")
                return example
        if tools and (not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools)):
            self._say("tools", f'"tools" must be a list of objects, not {kind(tools)}.', "tools")
        elif tools and isinstance(tools, list):
            example["tools"] = tools
        return example

    def _system(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        if row.get("system") in (None, ""):
            return []
        return [{"role": "system", "content": self._text(row, "system")}]

    def _text(self, row: dict[str, Any], name: str) -> str:
        value = row.get(name)
        if name not in row:
            self._say("missing", f'"{name}" is missing.', name)
        elif not isinstance(value, str):
            self._say("type", f'"{name}" must be text, not {kind(value)}.', name)
        elif not value.strip():
            self._say("empty", f'"{name}" is empty.', name)
        else:
            return value
        return ""

    def _say(self, code: str, message: str, field: str = "") -> None:
        self.problems.append(RowProblem(code, message, field))


_EXPECTED = {
    "user": "user and assistant turns must alternate.",
    "assistant": "it must follow a user or tool turn.",
    "tool": "it must follow an assistant or tool turn.",
}


def _check_values(row: dict[str, Any]) -> list[RowProblem]:
    """Look at every value for what would break storage or the tokenizer. A loop, so that no depth can overflow."""
    pending: list[tuple[Iterable[Any], int]] = [(row, 1), (row.values(), 1)]
    while pending:
        values, depth = pending.pop()
        for value in values:
            if isinstance(value, str):
                if "\x00" in value:
                    return [RowProblem("nul", "The row contains a NUL character (\\u0000); remove it.")]
                if not value.isascii() and not _is_unicode(value):
                    text = "The row contains half of a surrogate pair (\\ud800 to \\udfff); remove it."
                    return [RowProblem("encoding", text)]
            elif isinstance(value, dict | list):
                if depth >= MAX_DEPTH:
                    return [too_deep()]
                if isinstance(value, dict):
                    pending.append((value, depth + 1))
                    pending.append((value.values(), depth + 1))
                else:
                    pending.append((value, depth + 1))
            elif isinstance(value, float) and not math.isfinite(value):
                return [RowProblem("not_finite", "The row contains a number that is not finite.")]
    return []


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _a(word: str) -> str:
    return f"an {word}" if word[0] in "aeio" else f"a {word}"


def _or(names: Any) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}"
