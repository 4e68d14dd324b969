"""GPU types of the imitated provider. The ids are real ones; every price and every stock level is invented."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SECURE, COMMUNITY = "SECURE", "COMMUNITY"
CLOUDS = (SECURE, COMMUNITY)
PLACES = {"EU-RO-1": "Imitated Bucharest", "US-TX-3": "Imitated Dallas"}
STOCK_LEVELS = ("NONE", "LOW", "MEDIUM", "HIGH")


@dataclass
class Gpu:
    id: str
    name: str
    pool: str
    memory: int
    secure: Decimal | None  # invented US dollars an hour; None: not offered there
    community: Decimal | None
    stock: str
    max_count: int = 8

    def price(self, cloud: str) -> Decimal | None:
        return self.secure if cloud == SECURE else self.community

    def as_json(self, *, with_stock: bool) -> dict[str, Any]:
        places = [{"id": place, "name": name} for place, name in PLACES.items()]
        document: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "pool": self.pool,
            "manufacturer": "NVIDIA",
            "memory": self.memory,
            "secure": self.secure is not None,
            "community": self.community is not None,
            "price": {"secure": _number(self.secure), "community": _number(self.community)},
            "maxCount": {
                "secure": self.max_count if self.secure is not None else 0,
                "community": self.max_count // 2 if self.community is not None else 0,
            },
            "dataCenters": places,
            "cudaVersions": ["12.4", "12.8"],
            "note": "Imitated: prices and stock are invented.",
        }
        if with_stock:
            document["availability"] = self.stock
            for place in places:
                place["availability"] = self.stock
        return document


def gpus() -> dict[str, Gpu]:
    """A fresh catalogue, by id: its stock may be changed."""
    rows = (
        ("NVIDIA RTX A4000", "RTX A4000", "AMPERE_16", 16, "0.25", "0.17", "HIGH"),
        ("NVIDIA RTX A4500", "RTX A4500", "AMPERE_24", 20, "0.26", "0.19", "MEDIUM"),
        ("NVIDIA RTX A5000", "RTX A5000", "AMPERE_24", 24, "0.27", "0.16", "LOW"),
        ("NVIDIA L4", "L4", "ADA_24", 24, "0.39", None, "HIGH"),
        ("NVIDIA GeForce RTX 3090", "RTX 3090", "AMPERE_24", 24, "0.46", "0.22", "HIGH"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090", "ADA_24", 24, "0.69", "0.34", "HIGH"),
        ("NVIDIA RTX A6000", "RTX A6000", "AMPERE_48", 48, "0.49", "0.33", "MEDIUM"),
        ("NVIDIA A40", "A40", "AMPERE_48", 48, "0.40", None, "LOW"),
        ("NVIDIA L40S", "L40S", "ADA_48_PRO", 48, "0.86", "0.79", "HIGH"),
        ("NVIDIA A100 80GB PCIe", "A100 PCIe", "AMPERE_80", 80, "1.64", "1.19", "MEDIUM"),
        ("NVIDIA H100 PCIe", "H100 PCIe", "ADA_80_PRO", 80, "2.39", "1.99", "LOW"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM", "ADA_80_PRO", 80, "2.99", "2.69", "HIGH"),
        ("NVIDIA B200", "B200", "BLACKWELL_180", 180, "5.98", None, "NONE"),
    )
    return {
        id_: Gpu(id_, name, pool, memory, Decimal(secure), Decimal(community) if community else None, stock)
        for id_, name, pool, memory, secure, community, stock in rows
    }


def _number(price: Decimal | None) -> float | None:
    return None if price is None else float(price)
