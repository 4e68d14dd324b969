"""Finding equal rows in files of any size: digests stand on disk in 256 buckets, and one bucket is compared at a time.

A part holds the digests of one slice of the check: 256 lengths of 8 bytes, then the buckets one after the other; an
entry is 8 bytes of digest and 8 bytes of line number. Twenty million rows need 12 MB of memory in the comparison.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import BinaryIO

BUCKETS = 256
FIRST_SHOWN = 20
_HEADER = struct.Struct(f">{BUCKETS}Q")
_ENTRY = struct.Struct(">QQ")


class DigestPart:
    """Collects the digests of one slice."""

    def __init__(self) -> None:
        self._buckets: list[bytearray] = [bytearray() for _ in range(BUCKETS)]

    def add(self, digest: bytes, line: int) -> None:
        self._buckets[digest[0]] += digest + line.to_bytes(8, "big")

    def chunks(self) -> Iterator[bytes]:
        yield _HEADER.pack(*(len(bucket) for bucket in self._buckets))
        for bucket in self._buckets:
            yield bytes(bucket)

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets) // _ENTRY.size


class Matches:
    """Rows that equal another one, with the first few pairs of lines."""

    def __init__(self) -> None:
        self.rows = 0
        self._first: list[tuple[int, int]] = []

    def add(self, line: int, other: int) -> None:
        self.rows += 1
        self._first.append((line, other))
        if len(self._first) > 50 * FIRST_SHOWN:  # lines come bucket by bucket, so keep more than are shown
            self._first = sorted(self._first)[:FIRST_SHOWN]

    def first(self) -> list[tuple[int, int]]:
        return sorted(self._first)[:FIRST_SHOWN]


def compare(
    openers: list[Callable[[], BinaryIO]], against: list[Callable[[], BinaryIO]], breathe: Callable[[], None]
) -> tuple[Matches, Matches]:
    """Return (duplicates in the parts, rows of the parts that stand in `against` too). `breathe` runs per bucket."""
    duplicates, overlap = Matches(), Matches()
    with ExitStack() as stack:
        own = [_Part(stack.enter_context(opener())) for opener in openers]
        other = [_Part(stack.enter_context(opener())) for opener in against]
        for number in range(BUCKETS):
            training: dict[int, int] = {}
            for part in other:
                for digest, line in part.bucket(number):
                    training.setdefault(digest, line)
            seen: dict[int, int] = {}
            for part in own:
                for digest, line in part.bucket(number):
                    first = seen.setdefault(digest, line)
                    if first != line:
                        duplicates.add(line, first)
                    if digest in training:
                        overlap.add(line, training[digest])
            breathe()
    return duplicates, overlap


class _Part:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lengths = _HEADER.unpack(file.read(_HEADER.size))
        self._offset = _HEADER.size

    def bucket(self, number: int) -> Iterator[tuple[int, int]]:
        """Entries of one bucket; buckets are asked for in order."""
        self._file.seek(self._offset)
        self._offset += self._lengths[number]
        return _ENTRY.iter_unpack(self._file.read(self._lengths[number]))
