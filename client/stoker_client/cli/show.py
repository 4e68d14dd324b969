"""Values as people read them, tables, and JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

COLOURS = {"completed": "green", "failed": "red", "cancelled": "yellow", "cancelling": "yellow", "running": "cyan"}
PIPED_WIDTH = 200  # where no terminal sets one: rows stay whole for grep


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, soft_wrap=False)


def as_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str, right: Sequence[str] = ()) -> None:
    shown = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    rows = list(rows)
    for row in rows:
        shown.add_row(*("–" if cell is None or cell == "" else str(cell) for cell in row))
    out = console()
    if rows:
        out.print(shown)
    else:
        out.print(empty, style="dim")


def plain(text: Any) -> str:
    """What somebody else wrote, without anything that a terminal or Rich would obey."""
    visible = "".join(c if c.isprintable() or c == "\t" else "�" for c in str(text))
    return visible.replace("[", r"\[")


def status(job_status: str, label: str) -> str:
    colour = COLOURS.get(job_status)
    return f"[{colour}]{plain(label)}[/]" if colour else plain(label)


def money(amount: float | str | None) -> str:
    if amount is None:
        return "–"
    value = float(amount)
    return f"${value:,.2f}" if value >= 0.995 or value == 0 else f"${value:.4f}"


def size(count: int | None) -> str:
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    left = max(0, round(seconds))
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"


def ago(moment: str | None) -> str:
    if not moment:
        return "–"
    then = datetime.fromisoformat(moment)
    return duration((datetime.now(UTC) - then).total_seconds()) + " ago"


def clock(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S")


def number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
