"""What can be rented at RunPod, at which price, and how much of it is free. Asked for once a minute and account."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.providers.base import Offer
from pipeline.providers.runpod import pods
from pipeline.providers.runpod.client import Client

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
CLOUDS = {SECURE: "secure", COMMUNITY: "community"}
KEEP_SECONDS = 60.0
_KEPT_AT_MOST = 500
_STOCK = ("none", "low", "medium", "high")


@dataclass(frozen=True)
class Kind:
    """One kind of machine: a GPU in a cloud."""

    type: str
    cloud: str
    label: str
    price: Decimal  # US dollars per hour and GPU
    memory_gb: float | None
    max_count: int
    stock: str


Catalog = Mapping[tuple[str, str], Kind]

_lock = threading.Lock()
_kept: dict[str, tuple[float, Catalog]] = {}


def catalog(client: Client, account: str) -> Catalog:
    """All kinds by (GPU id, cloud). `account` tells apart what is kept. Raise as the client does."""
    now = time.monotonic()
    with _lock:
        found = _kept.get(account)
    if found and now - found[0] < KEEP_SECONDS:
        return found[1]
    fresh = {(kind.type, kind.cloud): kind for cloud in CLOUDS for kind in _kinds(client, cloud)}
    with _lock:
        if len(_kept) >= _KEPT_AT_MOST:
            _kept.clear()
        _kept[account] = (now, fresh)
    return fresh


def forget() -> None:
    with _lock:
        _kept.clear()


def offers(kinds: Catalog, provider: str, note: str) -> list[Offer]:
    """The cheapest first."""
    made = [
        Offer(
            provider=provider, type=kind.type, label=kind.label, price_per_hour=kind.price, memory_gb=kind.memory_gb,
            max_count=kind.max_count, cloud=kind.cloud, note=note, stock=kind.stock,
        )
        for kind in kinds.values()
    ]  # fmt: skip
    return sorted(made, key=lambda offer: (offer.price_per_hour, offer.label))


def _kinds(client: Client, cloud: str) -> list[Kind]:
    made = (_kind(gpu, cloud) for gpu in client.gpus(cloud))
    return [kind for kind in made if kind is not None]


def _kind(gpu: dict[str, Any], cloud: str) -> Kind | None:
    """None for what cannot be rented in this cloud, and for GPUs that the image's CUDA does not know."""
    word, id_ = CLOUDS[cloud], str(gpu["id"])
    price = pods.amount(_inner(gpu, "price").get(word), least=Decimal("0.0001"))
    maker = str(gpu.get("manufacturer") or id_).lower()
    if price is None or gpu.get(word) is False or id_ == "unknown" or maker.startswith(("amd", "intel")):
        return None
    memory = pods.amount(gpu.get("memory"))
    count = pods.amount(_inner(gpu, "maxCount").get(word))
    name = gpu.get("name") if isinstance(gpu.get("name"), str) else id_
    stock = str(gpu.get("availability") or "").lower()
    return Kind(
        type=id_,
        cloud=cloud,
        label=f"{name}, {word} cloud",
        price=price,
        memory_gb=float(memory) if memory else None,
        max_count=max(1, int(count)) if count is not None else 1,
        stock=stock if stock in _STOCK else "",
    )


def _inner(gpu: dict[str, Any], name: str) -> dict[str, Any]:
    value = gpu.get(name)
    return value if isinstance(value, dict) else {}
