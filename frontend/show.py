"""How values are written for people. static/js/format.js writes the same values the same way."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

MISSING = "–"


def number(value: Any) -> Decimal | None:
    if value is None or value == "" or isinstance(value, bool):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def money(value: Any) -> str:
    """US dollars; small amounts keep four decimals, or a cheap run would look free."""
    amount = number(value)
    if amount is None:
        return MISSING
    sign, amount = ("−" if amount < 0 else ""), abs(amount)
    if amount == 0 or amount >= Decimal("0.1"):
        return f"{sign}${amount:,.2f}"
    return f"{sign}${amount:.4f}" if amount >= Decimal("0.0001") else "<$0.0001"


def duration(seconds: Any) -> str:
    """12 s, 4 min 05 s, 3 h 07 min, 2 d 4 h."""
    amount = number(seconds)
    if amount is None or amount < 0:
        return MISSING
    whole = int(amount + Decimal("0.5"))
    days, hours, minutes, secs = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {secs:02d} s" if minutes else f"{secs} s"


def size(bytes_: Any) -> str:
    amount = number(bytes_)
    if amount is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def count(value: Any) -> str:
    amount = number(value)
    return MISSING if amount is None else f"{amount:,.0f}"


def decimals(value: Any, places: int = 4) -> str:
    amount = number(value)
    return MISSING if amount is None else f"{amount:.{places}f}"


def epoch(value: Any) -> str:
    amount = number(value)
    return MISSING if amount is None else f"{amount:.2f}".rstrip("0").rstrip(".")


def whole_percent(value: Any) -> str:
    """Rounded down: 100% is said only when it is reached."""
    amount = number(value)
    return MISSING if amount is None else f"{int(amount)}%"


def moment(value: Any) -> datetime | None:
    """Live fields carry times as text, model rows as datetimes."""
    if isinstance(value, str) and value:
        return datetime.fromisoformat(value)
    return value if isinstance(value, datetime) else None
