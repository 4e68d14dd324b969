"""What the check counts, row by row, and the report it makes of it. All of it is small, whatever the file's size."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

from datasets.checking.digests import Matches
from datasets.preview import render_turns
from training.records import RowProblem, example_pairs, example_turns

MAX_PROBLEMS = 100
SAMPLES = 10
SAMPLE_CHARACTERS = 2_000
SAMPLE_TURNS = 20
INDEX_ENTRIES = 1_024
MIN_ROWS = 2
FEW_ROWS = 50
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
HISTOGRAM_EDGES = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
BYTES_PER_TOKEN = 4
TOKENS_PER_TURN = 4  # role and separators that a chat template adds


@dataclass
class Spread:
    """Least, middle and greatest of many whole numbers; the middle is good to 1 percent, the rest is exact."""

    total: int = 0
    count: int = 0
    least: int = 0
    greatest: int = 0
    greatest_line: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, value: int, line: int) -> None:
        self.least = min(self.least, value) if self.count else value
        if value > self.greatest or not self.count:
            self.greatest, self.greatest_line = value, line
        self.total += value
        self.count += 1
        shift = max(value.bit_length() - 8, 0)
        key = str(value >> shift << shift)
        self.counts[key] = self.counts.get(key, 0) + 1

    def median(self) -> int:
        passed = 0
        for key in sorted(map(int, self.counts)):
            passed += self.counts[str(key)]
            if passed * 2 >= self.count:
                return key
        return 0

    def report(self) -> dict[str, int]:
        return {
            "min": self.least,
            "median": self.median(),
            "max": self.greatest,
            "longest_line": self.greatest_line,
        }


@dataclass
class Tally:
    format: str = ""
    format_line: int = 0
    lines: int = 0
    blank_lines: int = 0
    rows: int = 0
    good_rows: int = 0
    pairs: int = 0
    byte_order_mark: bool = False
    problem_total: int = 0
    problem_codes: dict[str, int] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    roles: dict[str, int] = field(default_factory=dict)
    tokens: Spread = field(default_factory=Spread)
    row_bytes: Spread = field(default_factory=Spread)
    longer_rows: dict[str, int] = field(default_factory=lambda: {str(length): 0 for length in LENGTHS})
    cut_tokens: dict[str, int] = field(default_factory=lambda: {str(length): 0 for length in LENGTHS})
    histogram: list[int] = field(default_factory=lambda: [0] * len(HISTOGRAM_EDGES))
    samples: list[dict[str, Any]] = field(default_factory=list)
    index_stride: int = 1
    index: list[int] = field(default_factory=list)  # byte offset of each `index_stride`-th line

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Tally:
        values = dict(document)
        values["tokens"], values["row_bytes"] = Spread(**values["tokens"]), Spread(**values["row_bytes"])
        return cls(**values)

    def add_line(self, number: int, offset: int) -> None:
        """Note where some lines begin, so that the preview can jump: never more than 1,024 of them."""
        self.lines += 1
        if (number - 1) % self.index_stride == 0:
            self.index.append(offset)
            if len(self.index) > INDEX_ENTRIES:
                self.index, self.index_stride = self.index[::2], self.index_stride * 2

    def add_problems(self, line: int, problems: list[RowProblem]) -> None:
        self.rows += 1
        for problem in problems:
            self.problem_total += 1
            self.problem_codes[problem.code] = self.problem_codes.get(problem.code, 0) + 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append({"line": line, **dataclasses.asdict(problem)})

    def add_example(self, line: int, size: int, example: dict[str, Any]) -> None:
        turns = example_turns(example)
        self.rows += 1
        self.good_rows += 1
        self.pairs += example_pairs(example)
        for turn in turns:
            self.roles[turn["role"]] = self.roles.get(turn["role"], 0) + 1
        tokens = estimate_tokens(example)
        self.tokens.add(tokens, line)
        self.row_bytes.add(size, line)
        self.histogram[bisect_right(HISTOGRAM_EDGES, tokens) - 1] += 1
        for length in LENGTHS:
            if tokens <= length:
                break
            self.longer_rows[str(length)] += 1
            self.cut_tokens[str(length)] += tokens - length
        if len(self.samples) < SAMPLES:
            self.samples.append({"line": line, "turns": render_turns(turns, SAMPLE_CHARACTERS, SAMPLE_TURNS)})

    def verdict(self) -> str:
        """One sentence that says why no job may train on the file; empty when one may."""
        if self.problem_total:
            first = self.problems[0]
            more = self.problem_total - 1
            rest = f" ({more:,} more problem{'s' if more > 1 else ''} in the report.)" if more else ""
            return f"Line {first['line']:,}: {first['message']}{rest}"
        if not self.rows:
            return "The file has no rows."
        if self.rows < MIN_ROWS:
            return f"The file has {self.rows} row; training needs at least {MIN_ROWS}."
        return ""

    def report(self, duplicates: Matches, overlap: Matches | None, training_name: str = "") -> dict[str, Any]:
        found = {
            "rows": duplicates.rows,
            "share": _share(duplicates.rows, self.good_rows),
            "first": [{"line": line, "same_as": other} for line, other in duplicates.first()],
        }
        shared = overlap and {
            "with": training_name,
            "rows": overlap.rows,
            "share": _share(overlap.rows, self.good_rows),
            "first": [{"line": line, "training_line": other} for line, other in overlap.first()],
        }
        return {
            "version": 1,
            "format": self.format,
            "lines": self.lines,
            "blank_lines": self.blank_lines,
            "rows": self.rows,
            "good_rows": self.good_rows,
            "training_pairs": self.pairs,
            "errors": {"total": self.problem_total, "by_code": self.problem_codes, "first": self.problems},
            "warnings": self._warnings(duplicates, overlap, training_name),
            "roles": self.roles,
            "tokens": self._tokens(),
            "row_bytes": self.row_bytes.report(),
            "duplicates": found,
            "overlap": shared,
            "samples": self.samples,
        }

    def suggested_max_length(self) -> int:
        """The least common length that cuts at most 1 percent of the rows."""
        for length in LENGTHS:
            if self.longer_rows[str(length)] <= self.good_rows * 0.01:
                return length
        return LENGTHS[-1]

    def _tokens(self) -> dict[str, Any]:
        edges = [*HISTOGRAM_EDGES, None]
        return {
            "estimated": True,
            "method": f"UTF-8 bytes / {BYTES_PER_TOKEN} + {TOKENS_PER_TURN} per turn; no tokenizer is asked",
            "total": self.tokens.total,
            "mean": round(self.tokens.total / self.tokens.count) if self.tokens.count else 0,
            **self.tokens.report(),
            "histogram": [
                {"from": edges[i], "to": edges[i + 1], "rows": rows} for i, rows in enumerate(self.histogram)
            ],
            "truncation": [
                {
                    "max_length": length,
                    "rows": self.longer_rows[str(length)],
                    "share": _share(self.longer_rows[str(length)], self.good_rows),
                    "tokens_cut_share": _share(self.cut_tokens[str(length)], self.tokens.total),
                }
                for length in LENGTHS
            ],
            "suggested_max_length": self.suggested_max_length(),
        }

    def _warnings(self, duplicates: Matches, overlap: Matches | None, training_name: str) -> list[dict[str, str]]:
        found: list[tuple[str, str]] = []
        if MIN_ROWS <= self.good_rows < FEW_ROWS:
            found.append(("few_rows", f"Only {self.good_rows} rows: enough to try things out, too few to learn much."))
        if duplicates.rows:
            share = _share(duplicates.rows, self.good_rows)
            found.append(("duplicates", f"{duplicates.rows:,} rows ({share:.1%}) repeat an earlier row."))
        if overlap and overlap.rows:
            text = f"{overlap.rows:,} rows also stand in “{training_name}”: the validation loss will look too good."
            found.append(("overlap", text))
        longer = self.longer_rows[str(LENGTHS[-1])]
        if longer:
            found.append(("long_rows", f"{longer:,} rows are longer than {LENGTHS[-1]:,} tokens (estimate)."))
        if self.blank_lines:
            found.append(("blank_lines", f"{self.blank_lines:,} blank lines are skipped."))
        if self.byte_order_mark:
            found.append(("byte_order_mark", "The file begins with a byte order mark, which is skipped."))
        return [{"code": code, "message": message} for code, message in found]


def estimate_tokens(example: dict[str, Any]) -> int:
    size = 0
    turns = example_turns(example)
    for turn in turns:
        size += len(turn.get("content", "").encode())
        if "tool_calls" in turn:
            size += len(json.dumps(turn["tool_calls"]))
    if "tools" in example:
        size += len(json.dumps(example["tools"]))
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_TURN * len(turns)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
