"""The check of a dataset: what it finds, where it says it is, and that a killed worker costs nothing but time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now
from django.db.utils import IntegrityError
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from datasets import services, storage
from datasets.checking import runner
from datasets.checking.digests import DigestPart, compare
from datasets.checking.tally import Spread
from datasets.models import Bucket, Dataset, Status
from tests.conftest import Person
from tests.datasets.files import chat, chats, checked, jsonl, stored
from tests.waiting import until

pytestmark = pytest.mark.django_db

FORMATS: dict[str, dict[str, Any]] = {
    "messages": chat("2 + 2?", "4"),
    "conversations": {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
    "instruction": {"instruction": "2 + 2?", "input": "", "output": "4"},
    "prompt_completion": {"prompt": "2 + 2?", "completion": "4"},
    "text": {"text": "2 + 2 = 4"},
}


@pytest.mark.parametrize("fmt", FORMATS)
def test_each_format_is_found_and_ready(owner: Person, fmt: str) -> None:
    dataset = checked(owner.user, jsonl([FORMATS[fmt]] * 3))
    assert (dataset.status, dataset.training_ready, dataset.error) == ("ready", True, "")
    assert (dataset.format, dataset.row_count, dataset.total_training_pairs) == (fmt, 3, 3)
    assert dataset.report["duplicates"]["first"] == [{"line": 2, "same_as": 1}, {"line": 3, "same_as": 1}]
    assert dataset.report["samples"][0]["turns"][-1]["content"].endswith("4")
    assert dataset.next_check_at is None
    assert dataset.lease_token is None


def test_errors_name_their_lines(owner: Person) -> None:
    lines = [
        json.dumps(chat("fine")).encode(),
        b'{"messages": [',
        b"",
        b'{"messages": "text"}',
        json.dumps({"text": "other format"}).encode(),
        json.dumps(chat("nul \x00")).encode(),
        b'{"messages": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"messages": "' + b"x" * 1_000_001 + b'"}',
        json.dumps({"messages": [{"role": "user", "content": "unanswered"}]}).encode(),
        b'{"messages": "\xff"}',
    ]
    dataset = checked(owner.user, b"\n".join(lines))
    assert (dataset.status, dataset.training_ready) == ("rejected", False)
    errors = dataset.report["errors"]
    assert [(error["line"], error["code"]) for error in errors["first"]] == [
        (2, "json"),
        (4, "type"),
        (5, "mixed_formats"),
        (6, "nul"),
        (7, "too_deep"),
        (8, "too_long"),
        (9, "turn_order"),
        (10, "encoding"),
    ]
    assert errors["total"] == 8
    assert dataset.error.startswith("Line 2: The line is not JSON")
    assert "7 more problems" in dataset.error
    assert dataset.report["blank_lines"] == 1


def test_errors_kept_are_bounded_and_all_are_counted(owner: Person) -> None:
    dataset = checked(owner.user, b"broken\n" * 500)
    assert dataset.report["errors"]["total"] == 500
    assert dataset.report["errors"]["by_code"] == {"json": 500}
    assert len(dataset.report["errors"]["first"]) == 100


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\n\n", "The file has no rows."),
        (chats(1), "The file has 1 row; training needs at least 2."),
        (b'{"a": 1}\n', 'Line 1: The row has only "a"; it needs messages,'),
        (b'{"chosen": "a", "rejected": "b"}\n', "Preference pairs are not trained on here."),
        (b'[{"text": "a"}, {"text": "b"}]', "Put each row on a line of its own."),
        (b'[\n{"text": "a"},\n{"text": "b"}\n]', "looks like one JSON array"),
        (b"Once upon a time\n", "Each line must be a JSON object"),
    ],
)
def test_file_that_cannot_be_trained_on_is_rejected_with_a_sentence(
    owner: Person, content: bytes, sentence: str
) -> None:
    dataset = checked(owner.user, content)
    assert dataset.status == "rejected"
    assert sentence in dataset.error


def test_format_that_the_owner_gave_is_kept_to(owner: Person) -> None:
    dataset = checked(owner.user, jsonl([{"text": "a", "messages": chat("b")["messages"]}] * 2), given_format="text")
    assert (dataset.status, dataset.format) == ("ready", "text")
    assert checked(owner.user, chats(3), given_format="text").report["errors"]["first"][0]["code"] == "missing"


def test_windows_files_are_accepted(owner: Person) -> None:
    dataset = checked(owner.user, b"\xef\xbb\xbf" + chats(3).replace(b"\n", b"\r\n"))
    assert dataset.training_ready
    assert "byte_order_mark" in {warning["code"] for warning in dataset.report["warnings"]}


def test_roles_tokens_and_lengths_are_counted(owner: Person) -> None:
    short, long = chat("a" * 40, "b" * 40), chat("a" * 4000, "b" * 4000)
    report = checked(owner.user, jsonl([short] * 99 + [long])).report
    tokens = report["tokens"]
    assert report["roles"] == {"user": 100, "assistant": 100}
    assert (tokens["min"], tokens["median"], tokens["max"]) == (28, 28, 2008)
    assert tokens["longest_line"] == 100
    assert tokens["estimated"] is True
    assert {cut["max_length"]: cut["rows"] for cut in tokens["truncation"]} == {
        256: 1, 512: 1, 1024: 1, 2048: 0, 4096: 0, 8192: 0,
    }  # fmt: skip
    assert tokens["suggested_max_length"] == 256
    assert sum(bucket["rows"] for bucket in tokens["histogram"]) == 100
    assert report["row_bytes"]["longest_line"] == 100


def test_rows_shared_with_the_training_set_are_found(owner: Person) -> None:
    training = checked(owner.user, chats(50), "Training")
    rows = [chat("new"), chat(" question  7 "), chat("question 9")]
    held_out = checked(owner.user, jsonl(rows), validation_for=training)
    overlap = held_out.report["overlap"]
    assert overlap["rows"] == 2
    assert overlap["with"] == "Training"
    assert overlap["first"] == [{"line": 2, "training_line": 8}, {"line": 3, "training_line": 10}]
    assert "overlap" in {warning["code"] for warning in held_out.report["warnings"]}
    assert training.report["overlap"] is None


def test_validation_set_waits_for_the_check_of_its_training_set(owner: Person) -> None:
    training = stored(owner.user, chats(5))
    held_out = stored(owner.user, chats(2), validation_for=training)
    assert not runner.check(held_out.pk)
    held_out.refresh_from_db()
    assert held_out.status == "checking"
    assert held_out.next_check_at is not None
    assert runner.check(training.pk)
    assert runner.check(held_out.pk)
    held_out.refresh_from_db()
    assert held_out.report["overlap"]["rows"] == 2


def test_validation_set_of_a_deleted_training_set_is_checked_alone(owner: Person) -> None:
    training = stored(owner.user, chats(5))
    held_out = stored(owner.user, chats(2), validation_for=training)
    services.delete(training)
    assert runner.check(held_out.pk)


def test_check_in_many_slices_finds_what_one_slice_finds(owner: Person) -> None:
    rows = [chat(f"question {n % 90}", "x" * (n % 300)) for n in range(120)]
    content = jsonl(rows[:60]) + b"broken\n" + jsonl(rows[60:])
    whole, sliced = checked(owner.user, content), stored(owner.user, content)
    slices = 1
    while not runner.check(sliced.pk, seconds=0.0):
        slices += 1
        assert slices < 1_000
    sliced.refresh_from_db()
    assert slices > 100
    assert sliced.report == whole.report
    assert sliced.check_state["index"] == whole.check_state["index"]


def test_progress_is_seen_while_the_check_runs(owner: Person) -> None:
    dataset = stored(owner.user, chats(100))
    assert not runner.check(dataset.pk, seconds=0.0)
    Dataset.objects.filter(pk=dataset.pk).update(lease_token=None)
    dataset.refresh_from_db()
    assert dataset.status == "checking"
    assert 0 < dataset.check_state["offset"] < dataset.size_bytes
    assert dataset.report["progress"] == {
        "rows": 1,
        "errors": 0,
        "bytes": dataset.check_state["offset"],
        "total_bytes": dataset.size_bytes,
    }
    assert dataset.progress == dataset.report["progress"]


def test_file_that_went_away_is_said_so(owner: Person) -> None:
    dataset = stored(owner.user, chats(3))
    storage.remove(Bucket.UPLOADS, dataset.storage_path)
    assert runner.check(dataset.pk)
    dataset.refresh_from_db()
    assert (dataset.status, dataset.training_ready) == ("rejected", False)
    assert dataset.error == "The file is no longer in the bucket. Upload it again."


def test_file_that_changed_is_said_so(owner: Person) -> None:
    dataset = stored(owner.user, chats(30))
    storage.local_path(Bucket.UPLOADS, dataset.storage_path).write_bytes(chats(3))
    assert runner.check(dataset.pk)
    dataset.refresh_from_db()
    assert "was changed after it came here" in dataset.error


def test_check_that_keeps_failing_is_given_up_with_a_sentence(owner: Person) -> None:
    dataset = stored(owner.user, chats(3))
    path = storage.local_path(Bucket.UPLOADS, dataset.storage_path)
    path.unlink()
    path.mkdir()  # reading raises IsADirectoryError
    for attempt in range(4):
        assert not runner.check(dataset.pk)
        dataset.refresh_from_db()
        assert dataset.check_state["failures"] == attempt + 1
        assert dataset.status == "checking"
    assert runner.check(dataset.pk)
    dataset.refresh_from_db()
    assert dataset.status == "rejected"
    assert "could not be checked (IsADirectoryError)" in dataset.error


def test_digests_of_rows_that_went_away_are_made_again(owner: Person) -> None:
    training = checked(owner.user, chats(5))
    held_out = stored(owner.user, chats(2), validation_for=training)
    storage.remove(Bucket.UPLOADS, *training.check_state["parts"])
    assert not runner.check(held_out.pk)
    services.check_again(training)
    assert runner.check(training.pk)
    assert runner.check(held_out.pk)


def test_dataset_held_by_another_worker_is_left_alone(owner: Person) -> None:
    dataset = stored(owner.user, chats(3))
    Dataset.objects.filter(pk=dataset.pk).update(
        lease_token="00000000-0000-4000-8000-000000000000", lease_until=Now() + timedelta(seconds=30)
    )
    assert not runner.check(dataset.pk)
    assert runner.check_due() == 0
    Dataset.objects.filter(pk=dataset.pk).update(lease_until=Now() - timedelta(seconds=1))
    assert runner.check_due() == 1
    dataset.refresh_from_db()
    assert dataset.training_ready


def test_worker_that_lost_its_lease_writes_nothing(owner: Person) -> None:
    dataset = stored(owner.user, chats(100))
    before = set(storage.local_path(Bucket.UPLOADS, "").rglob("*"))
    token = runner.uuid.uuid4()
    Dataset.objects.filter(pk=dataset.pk).update(lease_token=token, lease_until=Now(), status=Status.CHECKING)
    dataset.refresh_from_db()
    holder = runner._Holder(dataset, token, runner.State())
    services.check_again(dataset)  # takes the lease away
    with pytest.raises(runner.LeaseLost):
        holder.work(deadline=0.0)
    holder.drop_new_part()
    dataset.refresh_from_db()
    assert (dataset.status, dataset.check_state, dataset.report) == ("uploaded", None, {})
    assert set(storage.local_path(Bucket.UPLOADS, "").rglob("*")) == before


@pytest.mark.django_db(transaction=True)
def test_check_of_a_killed_worker_is_finished_by_the_next(owner: Person) -> None:
    dataset = stored(owner.user, chats(20_000))
    script = f"""
import django; django.setup()
from django.db import connection
connection.settings_dict["NAME"] = {connection.settings_dict["NAME"]!r}
from datasets.checking import runner
runner.RENEW_SECONDS = 0.02
while not runner.check({str(dataset.pk)!r}, seconds=0.05): pass
"""
    environment = {**os.environ, "PYTHONPATH": str(settings.BASE_DIR)}
    worker = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:

        def halfway() -> bool:
            dataset.refresh_from_db()
            return bool((dataset.check_state or {}).get("offset")) and dataset.lease_token is not None

        until(halfway, 30, "a slice to be stored and the next to begin")
        worker.send_signal(signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    dataset.refresh_from_db()
    assert dataset.status == "checking"
    offset = dataset.check_state["offset"]
    assert runner.check_due() == 0  # the lease still stands
    Dataset.objects.filter(pk=dataset.pk).update(lease_until=Now() - timedelta(seconds=1))
    assert runner.check_due(seconds=60) >= 1
    while not Dataset.objects.get(pk=dataset.pk).training_ready:
        runner.check(dataset.pk)
    dataset.refresh_from_db()
    assert 0 < offset < dataset.size_bytes
    assert (dataset.row_count, dataset.report["duplicates"]["rows"]) == (20_000, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "done"},
        {"storage_bucket": "elsewhere"},
        {"training_ready": True},
        {"training_ready": True, "status": "ready", "sha256": ""},
        {"row_count": -1},
        {"size_bytes": -1},
        {"format": "csv"},
    ],
)
def test_database_refuses_rows_that_cannot_be(owner: Person, wrong: dict[str, Any]) -> None:
    dataset = stored(owner.user, chats(2))
    with pytest.raises(IntegrityError), transaction.atomic():
        Dataset.objects.filter(pk=dataset.pk).update(**wrong)


def test_memory_stays_flat_whatever_the_size(owner: Person) -> None:
    def peak(rows: int) -> int:
        dataset = stored(owner.user, chats(rows))
        tracemalloc.start()
        while not runner.check(dataset.pk, seconds=0.3):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)
    small, large = peak(500), peak(8_000)
    assert large - small < 1_000_000


def test_spread_keeps_few_numbers_and_a_good_median() -> None:
    spread, dice = Spread(), random.Random(7)
    values = [dice.randrange(1, 250_000) for _ in range(20_000)]
    for line, value in enumerate(values):
        spread.add(value, line)
    middle = sorted(values)[len(values) // 2]
    assert abs(spread.median() - middle) / middle < 0.02
    assert (spread.least, spread.greatest) == (min(values), max(values))
    assert len(spread.counts) < 2_500


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=4), st.lists(st.integers(0, 40), max_size=30))
def test_digests_in_parts_find_the_same_rows_as_a_dictionary(parts: list[list[int]], training: list[int]) -> None:
    import io
    from functools import partial

    def part(numbers: list[int], first_line: int) -> bytes:
        written = DigestPart()
        for line, number in enumerate(numbers, first_line):
            written.add(bytes([number * 6 % 256]) + number.to_bytes(7, "big"), line)
        return b"".join(written.chunks())

    rows = [number for numbers in parts for number in numbers]
    files, line = [], 1
    for numbers in parts:
        files.append(partial(io.BytesIO, part(numbers, line)))
        line += len(numbers)
    duplicates, overlap = compare(files, [partial(io.BytesIO, part(training, 1))], lambda: None)
    assert duplicates.rows == len(rows) - len(set(rows))
    assert overlap.rows == sum(number in training for number in rows)
    for later, first in duplicates.first():
        assert rows[later - 1] == rows[first - 1]
        assert rows.index(rows[later - 1]) == first - 1
