"""Runs the check of a dataset in slices, under a lease that a killed worker loses and a slow one cannot outlive.

Between slices everything stands in the row (`check_state`) and in parts of row digests in the uploads bucket, so any
worker may go on. Every write names the lease token: who lost the lease writes nothing any more.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, BinaryIO
from uuid import UUID

from django.db import models, transaction
from django.db.models.functions import Now

from datasets import storage
from datasets.checking.digests import DigestPart, Matches, compare
from datasets.checking.tally import Tally
from datasets.models import UNCHECKED, Bucket, Dataset, Status
from datasets.nudge import nudge
from datasets.preview import unknown_format
from training.records import (
    RecordFormat,
    RowProblem,
    detect,
    example_digest,
    parse_line,
    read_lines,
    read_row,
)

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
SLICE_SECONDS = 8.0
RENEW_SECONDS = 1.0
DUE_SECONDS = 20.0
DUE_LIMIT = 20
WAIT_FOR_TRAINING_SECONDS = 5
MAX_FAILURES = 5
TASK = "datasets.tasks.check_dataset"


class LeaseLost(Exception):
    pass


@dataclass
class State:
    offset: int = 0
    line: int = 1
    parts: list[str] = field(default_factory=list)
    failures: int = 0
    tally: Tally = field(default_factory=Tally)

    def to_json(self) -> dict[str, Any]:
        return {
            "offset": self.offset,
            "line": self.line,
            "parts": self.parts,
            "failures": self.failures,
            "tally": self.tally.to_json(),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any] | None) -> State:
        if not document or "tally" not in document:
            return cls()
        return cls(**{**document, "tally": Tally.from_json(document["tally"])})


def check(dataset_id: UUID, seconds: float = SLICE_SECONDS) -> bool:
    """Work on one dataset for about `seconds`. True when its check has ended, False when it goes on or is held."""
    token = uuid.uuid4()
    claimed = Dataset.objects.unleased().filter(pk=dataset_id, status__in=UNCHECKED)
    if not claimed.update(lease_token=token, lease_until=Now() + LEASE, status=Status.CHECKING):
        return False
    return _run(dataset_id, token, seconds)


def check_due(limit: int = DUE_LIMIT, seconds: float = DUE_SECONDS) -> int:
    """Work on datasets that nobody looks after, for about `seconds` in all; return how many were worked on."""
    deadline, worked = time.monotonic() + seconds, 0
    while worked < limit and time.monotonic() < deadline:
        with transaction.atomic():
            rows = Dataset.objects.due().order_by("next_check_at").select_for_update(skip_locked=True, of=("self",))
            dataset_id = rows.values_list("pk", flat=True).first()
            if dataset_id is None:
                break
            token = uuid.uuid4()
            Dataset.objects.filter(pk=dataset_id).update(
                lease_token=token, lease_until=Now() + LEASE, status=Status.CHECKING
            )
        _run(dataset_id, token, min(SLICE_SECONDS, max(deadline - time.monotonic(), 1.0)))
        worked += 1
    return worked


def reset(dataset: Dataset) -> None:
    """Begin the check anew; a worker that is at it loses its lease. Does not save the file's own fields."""
    Dataset.objects.filter(pk=dataset.pk).update(
        status=Status.UPLOADED,
        training_ready=False,
        error="",
        report={},
        check_state=None,
        lease_token=None,
        lease_until=None,
        next_check_at=Now(),
    )
    dataset_id = str(dataset.pk)
    transaction.on_commit(lambda: nudge(TASK, dataset_id), robust=True)


def notes_folder(dataset_id: UUID) -> str:
    """Where the digests of a dataset's rows stand, in the uploads bucket; validation sets are compared to them."""
    return f"checks/{dataset_id}"


def _run(dataset_id: UUID, token: UUID, seconds: float) -> bool:
    dataset = Dataset.objects.filter(pk=dataset_id, lease_token=token).first()
    if dataset is None:
        return False
    state = State.from_json(dataset.check_state)
    holder = _Holder(dataset, token, state)
    try:
        return holder.work(time.monotonic() + seconds)
    except LeaseLost:
        holder.drop_new_part()
        return False
    except _FileChanged:
        return holder.reject("The file was changed after it came here. Check it again.")
    except FileNotFoundError:
        return holder.reject("The file is no longer in the bucket. Upload it again.")
    except Exception as error:
        logger.exception("The check of dataset %s was interrupted.", dataset_id)
        holder.drop_new_part()
        return holder.postpone(error)


class _Holder:
    """Holds the lease of one dataset for one slice."""

    def __init__(self, dataset: Dataset, token: UUID, state: State) -> None:
        self.dataset, self.token, self.state = dataset, token, state
        self._saved_parts = len(state.parts)
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def work(self, deadline: float) -> bool:
        if self.state.offset < self.dataset.size_bytes or self.dataset.size_bytes == 0:
            self._read(deadline)
            if self.state.offset < self.dataset.size_bytes:
                self.state.failures = 0
                self._pause(Now())
                nudge(TASK, str(self.dataset.pk))
                return False
        training = self.dataset.validation_for
        if training and training.is_being_checked:
            self._pause(Now() + timedelta(seconds=WAIT_FOR_TRAINING_SECONDS))
            return False
        self._finish(training)
        return True

    def reject(self, sentence: str) -> bool:
        tally = self.state.tally
        try:
            self._end(tally, tally.report(Matches(), None), sentence)
        except LeaseLost:
            return False
        return True

    def postpone(self, error: Exception) -> bool:
        """Try again later from the last finished slice; after five failures in a row the dataset is rejected."""
        kept = State() if isinstance(error, _NotesGone) else State.from_json(self.dataset.check_state)
        kept.failures = self.state.failures + 1
        if kept.failures >= MAX_FAILURES:
            return self.reject(f"The file could not be checked ({type(error).__name__}). Check it again later.")
        with suppress(LeaseLost):
            self._write(
                check_state=kept.to_json(),
                next_check_at=Now() + timedelta(seconds=5 * 2**kept.failures),
                lease_until=None,
                lease_token=None,
            )
        return False

    def drop_new_part(self) -> None:
        storage.remove(Bucket.UPLOADS, *self.state.parts[self._saved_parts :])

    def _read(self, deadline: float) -> None:
        dataset, state, part = self.dataset, self.state, DigestPart()
        known = RecordFormat(dataset.given_format) if dataset.given_format else None
        with storage.open_from(dataset.storage_bucket, dataset.storage_path, state.offset) as stream:
            for number, consumed, content in read_lines(stream, state.line):
                state.tally.add_line(number, state.offset)
                _take(state.tally, part, number, consumed, content, known)
                state.offset += consumed
                state.line = number + 1
                if isinstance(content, RowProblem) and content.code == "endless_line":
                    state.offset = dataset.size_bytes
                    break
                now = time.monotonic()
                if now >= self._renew_at:
                    self._renew()
                if now >= deadline:
                    break
            else:
                if state.offset != dataset.size_bytes:
                    raise _FileChanged
        if len(part):
            path = f"{notes_folder(dataset.pk)}/{len(state.parts)}-{self.token}"
            state.parts.append(path)
            storage.save(Bucket.UPLOADS, path, part.chunks())

    def _finish(self, training: Dataset | None) -> None:
        against = (training.check_state or {}).get("parts", []) if training else []
        try:
            duplicates, overlap = compare(
                [partial(_open_part, path) for path in self.state.parts],
                [partial(_open_part, path) for path in against],
                self._renew_when_due,
            )
        except FileNotFoundError as error:
            raise _NotesGone from error
        tally = self.state.tally
        report = tally.report(duplicates, overlap if training else None, training.name if training else "")
        self._end(tally, report, tally.verdict())

    def _end(self, tally: Tally, report: dict[str, Any], sentence: str) -> None:
        ready = not sentence
        self._write(
            status=Status.READY if ready else Status.REJECTED,
            training_ready=ready,
            error=sentence,
            format=tally.format,
            row_count=tally.rows,
            total_training_pairs=tally.pairs,
            report=report,
            check_state={"parts": self.state.parts, "index": tally.index, "index_stride": tally.index_stride},
            checked_at=Now(),
            next_check_at=None,
            lease_until=None,
            lease_token=None,
        )
        storage.remove_others(Bucket.UPLOADS, notes_folder(self.dataset.pk), keep=self.state.parts)
        for waiting in Dataset.objects.filter(validation_for=self.dataset, status=Status.CHECKING, lease_token=None):
            nudge(TASK, str(waiting.pk))

    def _pause(self, next_check_at: Any) -> None:
        """Store where the check stands and let anybody go on from `next_check_at`."""
        self._write(
            check_state=self.state.to_json(),
            report={"progress": self._progress()},
            next_check_at=next_check_at,
            lease_until=None,
            lease_token=None,
        )

    def _renew_when_due(self) -> None:
        if time.monotonic() >= self._renew_at:
            self._renew()

    def _renew(self) -> None:
        self._write(report={"progress": self._progress()}, lease_until=Now() + LEASE)
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _progress(self) -> dict[str, int]:
        return {
            "rows": self.state.tally.rows,
            "errors": self.state.tally.problem_total,
            "bytes": self.state.offset,
            "total_bytes": self.dataset.size_bytes,
        }

    def _write(self, **values: Any) -> None:
        held: models.QuerySet[Dataset] = Dataset.objects.filter(pk=self.dataset.pk, lease_token=self.token)
        if not held.update(**values):
            raise LeaseLost


class _FileChanged(Exception):
    """The object in the bucket has another size than it had when it came."""


class _NotesGone(Exception):
    """Digests of rows are missing, for example because the training dataset is just being checked again."""


def _take(
    tally: Tally, part: DigestPart, number: int, size: int, content: bytes | RowProblem, known: RecordFormat | None
) -> None:
    if number == 1 and isinstance(content, bytes) and content.startswith(b"\xef\xbb\xbf"):
        tally.byte_order_mark = True
    row = parse_line(content) if isinstance(content, bytes) else content
    if isinstance(row, RowProblem):
        if row.code == "blank":
            tally.blank_lines += 1
        else:
            tally.add_problems(number, [row])
        return
    fmt = known or detect(row)
    if fmt is None:
        tally.add_problems(number, [unknown_format(row)])
        return
    if not tally.format:
        tally.format, tally.format_line = fmt.value, number
    if fmt.value != tally.format:
        text = f"The row is in the format {fmt.value}, but line {tally.format_line:,} is in {tally.format}; use one."
        tally.add_problems(number, [RowProblem("mixed_formats", text)])
        return
    example, problems = read_row(row, fmt)
    if example is None:
        tally.add_problems(number, problems)
        return
    tally.add_example(number, size, example)
    part.add(example_digest(example), number)


def _open_part(path: str) -> BinaryIO:
    return storage.storage_of(Bucket.UPLOADS).open(path, "rb")  # type: ignore[return-value]
