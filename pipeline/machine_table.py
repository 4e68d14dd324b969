"""One training beside every machine that can be had: does it fit, how long will it take, what will it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline import memory
from pipeline.catalogue import shape_of
from pipeline.estimates import Estimate, Estimator
from pipeline.market import Stand
from pipeline.memory import Fit
from pipeline.paces import Place, Task
from pipeline.providers.base import Offer
from pipeline.shapes import Shape


@dataclass(frozen=True)
class Row:
    stand: Stand
    offer: Offer
    gpus: int
    price_per_hour: Decimal  # of all the GPUs
    needs_gb: float | None  # on each GPU
    fit: Fit
    estimate: Estimate | None  # None: there is nothing to train yet


@dataclass(frozen=True)
class Comparison:
    parameters: float | None
    guessed: bool  # the model's size is known from its name alone
    rows: Sequence[Row]


def compare(
    stands: Sequence[Stand],
    *,
    base_model: str,
    values: Mapping[str, Any],
    task: Task | None,
    longest_row: int | None,
    gpus: int,
    max_seconds: int,
) -> Comparison:
    """`values` are complete hyperparameters. A machine with fewer GPUs than `gpus` is reckoned with what it has."""
    shape = shape_of(base_model) if base_model else None
    offers = [(stand, offer, min(gpus, offer.max_count)) for stand in stands for offer in stand.offers]
    estimator = Estimator(task, [Place(stand.name, offer.type, n) for stand, offer, n in offers]) if task else None
    rows = []
    for stand, offer, n in offers:
        need = _need(shape, values, offer, n, longest_row)
        price = offer.price_per_hour * n
        told = estimator.at(Place(stand.name, offer.type, n), price, max_seconds) if estimator else None
        rows.append(Row(stand, offer, n, price, need, memory.fit(need, offer.memory_gb), told))
    return Comparison(shape.parameters if shape else None, bool(shape and shape.guessed), rows)


def _need(
    shape: Shape | None, values: Mapping[str, Any], offer: Offer, gpus: int, longest_row: int | None
) -> float | None:
    if shape is None:
        return None
    return memory.needed(shape, values, gpus=gpus, on_cpu=offer.type == "cpu", longest_row=longest_row)
