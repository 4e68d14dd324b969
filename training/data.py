"""From the dataset file to the files that are trained, validated and held out.

Rows are converted line by line and never all held in memory. Which rows are kept apart depends on the number of rows
and the seed alone, so a resumed run comes to the same split.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.failures import InvalidDataError
from training.records import RecordFormat, RowProblem, parse_line, read_lines, to_example

MAX_VALIDATION_ROWS = 500  # of a split: measuring more of them costs time and says nothing new
HELD_OUT_SHARE = 5  # at most one row in so many is held out for the answers


@dataclass(frozen=True)
class Split:
    validation: frozenset[int]  # row indices that are evaluated and never trained on
    held_out: tuple[int, ...]  # row indices whose prompts are answered; never trained on


@dataclass
class Prepared:
    train: Path
    train_rows: int
    validation: Path | None = None
    validation_rows: int = 0
    held_out: list[dict[str, Any]] = field(default_factory=list)  # examples with "prompt" and "completion"
    chat: bool = True  # the rows are conversations, so a chat template is needed

    def to_json(self) -> dict[str, Any]:
        return {
            **self.__dict__,
            "train": str(self.train),
            "validation": str(self.validation) if self.validation else None,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Prepared:
        validation = document["validation"]
        paths = {"train": Path(document["train"]), "validation": Path(validation) if validation else None}
        return cls(**{**document, **paths})


def split(rows: int, validation_share: float, held_out: int, seed: int) -> Split:
    """Choose rows to keep apart. Held-out prompts come from the validation rows first: nothing is learnt from those."""
    dice = random.Random(seed)  # noqa: S311 - must be repeatable
    order = dice.sample(range(rows), min(rows, MAX_VALIDATION_ROWS + held_out))
    validation = order[: min(int(rows * validation_share + 0.5), MAX_VALIDATION_ROWS, max(rows - 1, 0))]
    held = min(held_out, rows // HELD_OUT_SHARE)
    return Split(frozenset(validation), tuple(order[:held]))


def prepare(
    source: Path,
    fmt: RecordFormat,
    target: Path,
    values: dict[str, Any],
    validation_source: tuple[Path, RecordFormat] | None = None,
) -> Prepared:
    """Write `target`/train.jsonl and validation.jsonl. Raise InvalidDataError with the line of a row without use."""
    target.mkdir(parents=True, exist_ok=True)
    all_turns = values["assistant_only_loss"]
    rows = sum(1 for _ in _examples(source, fmt, "dataset"))
    if rows == 0:
        raise InvalidDataError("The dataset has no rows. Upload a file with one JSON object per line.")
    share = 0.0 if validation_source else values["validation_split"]
    wanted = 0 if validation_source or fmt is RecordFormat.TEXT else values["held_out_samples"]
    apart = split(rows, share, wanted, values["seed"])
    result = Prepared(train=target / "train.jsonl", train_rows=0, validation=target / "validation.jsonl")
    held: dict[int, dict[str, Any]] = {}
    assert result.validation is not None
    with result.train.open("w", encoding="utf-8") as train, result.validation.open("w", encoding="utf-8") as valid:
        for index, example in enumerate(_examples(source, fmt, "dataset")):
            row = trained_form(example, all_turns)
            result.chat = isinstance(example.get("messages", example.get("prompt")), list)
            if index in apart.held_out:
                held[index] = question(example)
            if index in apart.validation:
                _write(valid, row)
                result.validation_rows += 1
            elif index not in apart.held_out:
                _write(train, row)
                result.train_rows += 1
        result.held_out = [held[index] for index in apart.held_out if held[index]]
        if validation_source:
            for index, example in enumerate(_examples(*validation_source, "validation dataset")):
                _write(valid, trained_form(example, all_turns))
                result.validation_rows += 1
                if index < values["held_out_samples"] and (asked := question(example)):
                    result.held_out.append(asked)
    if result.validation_rows == 0:
        result.validation = None
    return result


def trained_form(example: dict[str, Any], all_turns: bool) -> dict[str, Any]:
    """The form that the trainer masks: a prompt whose tokens are not learnt, and a completion whose tokens are.

    With `all_turns` a conversation stays whole and the chat template says which tokens are the assistant's.
    """
    if "text" in example:
        return {"text": example["text"]}
    if "messages" in example and not all_turns:
        row: dict[str, Any] = {"prompt": example["messages"][:-1], "completion": example["messages"][-1:]}
    elif "messages" in example:
        row = {"messages": example["messages"]}
    elif all_turns and isinstance(example["prompt"], list):
        row = {"messages": [*example["prompt"], *example["completion"]]}
    else:
        row = {"prompt": example["prompt"], "completion": example["completion"]}
    if example.get("tools"):
        row["tools"] = json.dumps(example["tools"], ensure_ascii=False)
    return row


def question(example: dict[str, Any]) -> dict[str, Any]:
    """A row as a prompt to be answered and the expected answer; empty when it is plain text, which asks nothing."""
    if "text" in example:
        return {}
    if "messages" in example:
        prompt, last = example["messages"][:-1], example["messages"][-1]
    elif isinstance(example["prompt"], list):
        prompt, last = [*example["prompt"], *example["completion"][:-1]], example["completion"][-1]
    else:
        return {"prompt": example["prompt"], "expected": example["completion"]}
    expected = last.get("content") or json.dumps(last.get("tool_calls", []), ensure_ascii=False)
    return {"prompt": prompt, "expected": expected, "tools": example.get("tools")}


def _examples(source: Path, fmt: RecordFormat, what: str) -> Iterator[dict[str, Any]]:
    with source.open("rb") as stream:
        for number, _, line in read_lines(stream):
            if isinstance(line, bytes) and not line.strip():
                continue
            row = line if isinstance(line, RowProblem) else parse_line(line)
            if isinstance(row, RowProblem):
                raise InvalidDataError(f"Line {number} of the {what}: {row.message}")
            try:
                yield to_example(row, fmt)
            except ValueError as error:
                raise InvalidDataError(f"Line {number} of the {what}: {error}") from error


def _write(stream: Any, row: dict[str, Any]) -> None:
    stream.write(json.dumps(row, ensure_ascii=False) + "\n")
