"""The machines of a cluster. It lists none itself, so its account says which it has and what they cost."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from pipeline.providers.base import Refused

MAX_GPUS = 64
_EXAMPLE = "Write them as A100:2.50, H100:4.00:80 (type, US dollars per hour, and if you like GB of memory)."
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,59}")


@dataclass(frozen=True)
class ClusterGpu:
    type: str
    price_per_hour: Decimal = Decimal(0)
    memory_gb: float | None = None


def gpus_of(text: str) -> list[ClusterGpu]:
    """The types in an account's option; one named `gpu` without a price when it is empty. Raise Refused."""
    found: dict[str, ClusterGpu] = {}
    for piece in (piece.strip() for piece in text.split(",")):
        if not piece:
            continue
        name, *numbers = (part.strip() for part in piece.split(":"))
        if not _TYPE.fullmatch(name) or len(numbers) > 2:
            raise Refused(f"“{piece[:80]}” is no GPU type. {_EXAMPLE}")
        if name in found:
            raise Refused(f"The GPU type {name} is listed twice. {_EXAMPLE}")
        price = _number(piece, numbers[0], "price", 1_000) if numbers else Decimal(0)
        memory = float(_number(piece, numbers[1], "memory", 10_000)) if len(numbers) > 1 else None
        found[name] = ClusterGpu(name, price, memory or None)
    return list(found.values()) or [ClusterGpu("gpu")]


def _number(piece: str, text: str, what: str, below: int) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise Refused(f"The {what} in “{piece[:80]}” is not a number. {_EXAMPLE}") from None
    if not number.is_finite() or not 0 <= number < below:
        raise Refused(f"The {what} in “{piece[:80]}” must be from 0 to below {below:,}. {_EXAMPLE}")
    return number
