"""Figures, and the table they are printed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Floor:
    """What the same thing costs with nothing of the product in the way; its values have the figure's names."""

    what: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    key: str
    what: str
    unit: str  # "ms" (less is better), or something a second (more is better)
    values: Mapping[str, float]  # {"rate": ...} or {"p50": ..., "p99": ...}
    floor: Floor | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """How many times worse than the floor: 1 is as good as it gets."""
        if self.floor is None:
            return {}
        found = {}
        for name, value in self.values.items():
            least = self.floor.values.get(name)
            if least and value:
                found[name] = value / least if self.unit == "ms" else least / value
        return found

    def to_json(self) -> dict[str, Any]:
        floor = {"what": self.floor.what, **_rounded(self.floor.values)} if self.floor else None
        return {
            "key": self.key,
            "what": self.what,
            "unit": self.unit,
            **_rounded(self.values),
            "floor": floor,
            "times_the_floor": _rounded(self.ratios),
            "details": dict(self.details),
        }


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 by the nearest rank, so that both are values that occurred."""
    ordered = sorted(milliseconds)
    if not ordered:
        raise ValueError("Nothing was measured.")
    return {f"p{percent}": ordered[math.ceil(len(ordered) * percent / 100) - 1] for percent in (50, 99)}


def table(figures: Sequence[Figure]) -> str:
    rows = [("figure", "this product", "floor", "times the floor", "the floor is")]
    for figure in figures:
        floor = figure.floor
        rows.append(
            (
                figure.what,
                f"{_cell(figure.values)} {figure.unit}",
                _cell(floor.values) if floor else "-",
                _cell(figure.ratios) if floor else "-",
                floor.what if floor else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _cell(values: Mapping[str, float]) -> str:
    return " / ".join(f"{_round(value):,}" for value in values.values())


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: _round(value) for name, value in values.items()}


def _round(value: float) -> float:
    """Two digits where they tell something; more would pretend to a precision that no run has."""
    return round(value) if value >= 100 else round(value, 1) if value >= 10 else round(value, 2)
