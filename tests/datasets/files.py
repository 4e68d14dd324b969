"""Dataset files for tests."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable
from typing import Any

from datasets import services
from datasets.checking import runner
from datasets.models import Dataset

_numbers = itertools.count(1)


def chat(question: str, answer: str = "Yes.") -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def jsonl(rows: Iterable[Any]) -> bytes:
    return b"".join((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows)


def chats(count: int, prefix: str = "question") -> bytes:
    return jsonl(chat(f"{prefix} {n}") for n in range(count))


def upload(content: bytes, filename: str = "rows.jsonl") -> io.BytesIO:
    """What a test client sends as a file."""
    file = io.BytesIO(content)
    file.name = filename
    return file


def stored(owner: Any, content: bytes, name: str = "", **options: Any) -> Dataset:
    """A dataset as an upload leaves it, not checked yet."""
    return services.create_from_chunks(owner, [content], "rows.jsonl", name or f"dataset {next(_numbers)}", **options)


def checked(owner: Any, content: bytes, name: str = "", **options: Any) -> Dataset:
    dataset = stored(owner, content, name, **options)
    assert runner.check(dataset.pk)
    dataset.refresh_from_db()
    return dataset
