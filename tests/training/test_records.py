"""Rows of a dataset: every format read, every mistake named, and nothing that makes the reader raise."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.records import (
    MAX_LINE_BYTES,
    RecordFormat,
    RowProblem,
    check_row,
    detect,
    example_turns,
    parse_line,
    read_lines,
    read_row,
    row_digest,
    to_example,
    training_pairs,
)

USER = {"role": "user", "content": "2 + 2?"}
ANSWER = {"role": "assistant", "content": "4"}
CALL = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": '{"a": 2}'}}]}
RESULT = {"role": "tool", "content": ""}

GOOD: list[tuple[RecordFormat, dict[str, Any], dict[str, Any], int]] = [
    (RecordFormat.MESSAGES, {"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER]}, 1),
    (
        RecordFormat.CONVERSATIONS,
        {"system": "Be short.", "conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"messages": [{"role": "system", "content": "Be short."}, USER, ANSWER]},
        1,
    ),
    (RecordFormat.CONVERSATIONS, {"conversations": [USER, ANSWER]}, {"messages": [USER, ANSWER]}, 1),
    (
        RecordFormat.INSTRUCTION,
        {"instruction": "Translate.", "input": "chat", "output": "cat"},
        {"messages": [{"role": "user", "content": "Translate.\n\nchat"}, {"role": "assistant", "content": "cat"}]},
        1,
    ),
    (
        RecordFormat.INSTRUCTION,
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"messages": [USER, ANSWER]},
        1,
    ),
    (RecordFormat.INSTRUCTION, {"instruction": "2 + 2?", "response": "4"}, {"messages": [USER, ANSWER]}, 1),
    (RecordFormat.PROMPT_COMPLETION, {"prompt": "a", "completion": "b"}, {"prompt": "a", "completion": "b"}, 1),
    (
        RecordFormat.PROMPT_COMPLETION,
        {"prompt": [USER], "completion": [ANSWER]},
        {"prompt": [USER], "completion": [ANSWER]},
        1,
    ),
    (RecordFormat.TEXT, {"text": "Once upon a time"}, {"text": "Once upon a time"}, 1),
    (RecordFormat.MESSAGES, {"messages": [USER, ANSWER, USER, ANSWER]}, {"messages": [USER, ANSWER, USER, ANSWER]}, 2),
]


@pytest.mark.parametrize(("fmt", "row", "example", "pairs"), GOOD)
def test_good_row_becomes_what_the_model_sees(
    fmt: RecordFormat, row: dict[str, Any], example: dict[str, Any], pairs: int
) -> None:
    assert detect(row) == fmt
    assert check_row(row, fmt) == []
    assert to_example(row, fmt) == example
    assert training_pairs(row, fmt) == pairs


def test_tool_calls_and_tools_are_kept_in_the_shape_templates_read() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    example = to_example({"messages": [USER, CALL, RESULT, ANSWER], "tools": json.dumps(tools)}, RecordFormat.MESSAGES)
    assert example["tools"] == tools
    assert example["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}],
    }


def test_parts_of_text_are_joined_and_other_parts_are_refused() -> None:
    parts = [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2?"}]
    assert to_example({"messages": [{"role": "user", "content": parts}, ANSWER]}, RecordFormat.MESSAGES) == {
        "messages": [USER, ANSWER]
    }
    picture = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ANSWER]}
    assert [p.code for p in check_row(picture, RecordFormat.MESSAGES)] == ["parts"]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": "hello"}, "type", "messages"),
    ({"messages": []}, "empty", "messages"),
    ({"messages": ["hello"]}, "type", "messages[0]"),
    ({"messages": [{"role": "human", "content": "x"}, ANSWER]}, "role", "messages[0].role"),
    ({"messages": [{"role": "user"}, ANSWER]}, "type", "messages[0].content"),
    ({"messages": [{"role": "user", "content": 7}, ANSWER]}, "type", "messages[0].content"),
    ({"messages": [{"role": "user", "content": "  "}, ANSWER]}, "empty", "messages[0].content"),
    ({"messages": [USER]}, "turn_order", "messages"),
    ({"messages": [ANSWER]}, "turn_order", "messages[0]"),
    ({"messages": [USER, USER, ANSWER]}, "turn_order", "messages[1]"),
    ({"messages": [USER, ANSWER, ANSWER]}, "turn_order", "messages[2]"),
    ({"messages": [USER, RESULT, ANSWER]}, "turn_order", "messages[1]"),
    ({"messages": [USER, {"role": "system", "content": "x"}, ANSWER]}, "turn_order", "messages[1]"),
    ({"messages": [{**USER, "tool_calls": CALL["tool_calls"]}, ANSWER]}, "tool_calls", "messages[0].tool_calls"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": [{}]}]}, "tool_calls", "messages[1].tool_calls"),
    ({"messages": [USER, {"role": "assistant", "tool_calls": "x"}]}, "tool_calls", "messages[1].tool_calls"),
    ({"messages": [USER, ANSWER], "tools": "nope"}, "tools", "tools"),
    ({"messages": [USER, ANSWER], "tools": [1]}, "tools", "tools"),
    ({"conversations": [{"from": "alien", "value": "x"}]}, "role", "conversations[0].from"),
    ({"conversations": [{"from": "human", "value": "x"}]}, "turn_order", "conversations"),
    ({"instruction": "x"}, "missing", "output"),
    ({"instruction": "x", "input": 3, "output": "y"}, "type", "input"),
    ({"prompt": "x", "completion": ""}, "empty", "completion"),
    ({"prompt": "x", "completion": [ANSWER]}, "type", "completion"),
    ({"prompt": [USER], "completion": []}, "turn_order", "prompt + completion"),
    ({"prompt": [], "completion": [USER, ANSWER]}, "turn_order", ""),
    ({"text": None}, "type", "text"),
    ({"text": "a\x00b"}, "nul", ""),
    ({"text": "\ud800"}, "encoding", ""),
    ({"text": "x", "score": float("nan")}, "not_finite", ""),
]


@pytest.mark.parametrize(("row", "code", "field"), BAD)
def test_bad_row_gets_a_problem_with_its_place(row: dict[str, Any], code: str, field: str) -> None:
    fmt = detect(row)
    assert fmt is not None
    problem = check_row(row, fmt)[0]
    assert (problem.code, problem.field) == (code, field)
    assert problem.message[0].isupper() or problem.message[0] == '"'
    assert problem.message.endswith(".")
    with pytest.raises(ValueError, match=r"\.$"):
        to_example(row, fmt)


def test_row_of_no_known_format_is_not_guessed() -> None:
    assert detect({"chosen": "a", "rejected": "b", "prompt": "c"}) is None


def test_row_nested_too_deeply_is_named_without_overflow() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    assert [p.code for p in check_row({"text": "x", "extra": deep}, RecordFormat.TEXT)] == ["too_deep"]
    assert problem_of(b'{"text": ' + b"[" * 200_000 + b"]" * 200_000 + b"}").code == "too_deep"


def test_number_of_problems_in_one_row_is_bounded() -> None:
    row = {"messages": [{"role": "user", "content": ""}] * 500}
    assert len(check_row(row, RecordFormat.MESSAGES)) == 10


def problem_of(line: bytes) -> RowProblem:
    result = parse_line(line)
    assert isinstance(result, RowProblem)
    return result


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "blank"),
        (b" \r\n", "blank"),
        (b'{"text": "a"', "json"),
        (b"hello", "json"),
        (b'[{"text": "a"},', "json"),
        (b'[{"text": "a"}]', "not_object"),
        (b"7", "not_object"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": ' + b"9" * 5000 + b"}", "json"),
        (b'{"a": "\x00"}', "nul"),
        (b'{"a": "\xff"}', "encoding"),
        (b"\xff\xfe{\x00}\x00", "encoding"),
        (b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}', "too_long"),
    ],
)
def test_broken_line_is_named(line: bytes, code: str) -> None:
    assert problem_of(line).code == code


def test_broken_json_names_the_column() -> None:
    problem = problem_of(b'{"text": "a" "b"}')
    assert problem.column == 14
    assert "column 14" in problem.message


def test_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    assert parse_line(b'\xef\xbb\xbf{"text": "a"}\r\n') == {"text": "a"}


def test_lines_are_cut_without_holding_a_huge_one() -> None:
    first, last = b'{"text": "a"}\r\n', b'{"text": "b"}'
    stream = io.BytesIO(first + b"x" * 300_000 + b"\n" + b"\n" + last)
    lines = list(read_lines(stream, max_bytes=1000))
    assert [number for number, _, _ in lines] == [1, 2, 3, 4]
    assert sum(consumed for _, consumed, _ in lines) == len(stream.getvalue())
    assert (lines[0][2], lines[2][2], lines[3][2]) == (first, b"\n", last)
    assert isinstance(lines[1][2], RowProblem)


def test_line_of_exactly_the_limit_is_accepted() -> None:
    for end in (b"\n", b"\r\n", b""):
        (line,) = read_lines(io.BytesIO(b"x" * 1000 + end), max_bytes=1000)
        assert line[2] == b"x" * 1000 + end
    (line,) = read_lines(io.BytesIO(b"x" * 1001), max_bytes=1000)
    assert isinstance(line[2], RowProblem)


def test_digest_ignores_white_space_and_format() -> None:
    digests = {
        row_digest({"messages": [USER, ANSWER]}, RecordFormat.MESSAGES),
        row_digest({"messages": [{**USER, "content": " 2 +\n2? "}, ANSWER]}, RecordFormat.MESSAGES),
        row_digest({"instruction": "2 + 2?", "output": "4"}, RecordFormat.INSTRUCTION),
        row_digest({"prompt": "2 + 2?", "completion": "4"}, RecordFormat.PROMPT_COMPLETION),
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 8
    assert row_digest({"text": "a b"}, RecordFormat.TEXT) != row_digest({"text": "ab"}, RecordFormat.TEXT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
turns = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["system", "user", "assistant", "tool"]) | json_values,
            "from": st.sampled_from(["human", "gpt", "system"]) | json_values,
            "content": st.text(max_size=5) | json_values,
            "value": st.text(max_size=5) | json_values,
            "tool_calls": json_values,
        },
    )
    | json_values,
    max_size=4,
)
fields = st.text(max_size=5) | turns | json_values
rows = st.dictionaries(
    st.sampled_from(
        [
            "messages",
            "conversations",
            "instruction",
            "input",
            "output",
            "prompt",
            "completion",
            "text",
            "tools",
            "system",
        ]
    ),
    fields,
)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_raising(line: bytes) -> None:
    assert isinstance(parse_line(line), dict | RowProblem)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows, st.sampled_from(RecordFormat))
def test_any_row_is_checked_without_raising(row: dict[str, Any], fmt: RecordFormat) -> None:
    detect(row)
    example, problems = read_row(row, fmt)
    assert (example is None) == bool(problems)
    if example is not None:
        assert len(row_digest(row, fmt)) == 8
        assert training_pairs(row, fmt) >= 1
        assert all(isinstance(turn["content"], str) for turn in example_turns(example))
        json.dumps(example).encode()
