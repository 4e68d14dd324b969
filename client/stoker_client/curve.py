"""A curve in characters: each holds two by four dots of Braille. Pure functions of numbers, so that tests can look."""

from __future__ import annotations

import math
from collections.abc import Sequence

_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row of one character
_BLANK = 0x2800

Value = float | int | str | None  # the server sends "NaN" and "Infinity" as texts


def finite(steps: Sequence[int], values: Sequence[Value]) -> tuple[list[int], list[float]]:
    """Without what cannot be drawn."""
    pairs = [
        (step, float(value))
        for step, value in zip(steps, values, strict=True)
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def draw(
    steps: Sequence[int], values: Sequence[Value], width: int, height: int, last_step: int | None = None
) -> list[str]:
    """`height` lines of `width` characters, with the scale at their left and the steps below.

    The line is drawn through the mean of the values in each column of dots. `last_step` is where the right edge lies,
    so that a curve grows into its frame; left out, it is the last step there is.
    """
    steps, numbers = finite(steps, values)
    if not numbers:
        return []
    low, high = min(numbers), max(numbers)
    if high - low < 1e-12 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1e-6), high + 0.5 * max(abs(high), 1e-6)
    labels = [_number(high), _number(low)]
    margin = max(map(len, labels)) + 1
    columns, rows = max(2, (width - margin) * 2), height * 4
    first, last = steps[0], max(last_step or 0, steps[-1])
    heights = _heights(steps, numbers, first, last, columns, rows, low, high)
    grid = [[_BLANK] * (columns // 2) for _ in range(height)]
    before: tuple[int, int] | None = None
    for column, row in heights:
        for x, y in _line(before or (column, row), (column, row)):
            grid[y // 4][x // 2] |= _DOTS[x % 2][y % 4]
        before = (column, row)
    lines = []
    for at, cells in enumerate(grid):
        label = labels[0] if at == 0 else labels[1] if at == height - 1 else ""
        lines.append(f"{label:>{margin - 1}} " + "".join(map(chr, cells)))
    ends = f"{first:,}", f"{last:,}"
    lines.append(" " * margin + ends[0] + ends[1].rjust(columns // 2 - len(ends[0])))
    return lines


def _heights(
    steps: Sequence[int],
    numbers: Sequence[float],
    first: int,
    last: int,
    columns: int,
    rows: int,
    low: float,
    high: float,
) -> list[tuple[int, int]]:
    """The row of dots in each column that has values, from the top."""
    span = max(1, last - first)
    sums: dict[int, tuple[float, int]] = {}
    for step, number in zip(steps, numbers, strict=True):
        column = round((step - first) / span * (columns - 1))
        total, count = sums.get(column, (0.0, 0))
        sums[column] = total + number, count + 1
    return [
        (column, round((high - total / count) / (high - low) * (rows - 1)))
        for column, (total, count) in sorted(sums.items())
    ]


def _line(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int]]:
    """The dots between two dots, both included."""
    (x0, y0), (x1, y1) = start, end
    length = max(abs(x1 - x0), abs(y1 - y0), 1)
    return [(round(x0 + (x1 - x0) * i / length), round(y0 + (y1 - y0) * i / length)) for i in range(length + 1)]


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.1e}"
