"""RunPod and the cluster in a playground: the same providers before imitations of both, and they say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pipeline.providers.base import Account, Offer
from pipeline.providers.cluster import ClusterProvider
from pipeline.providers.runpod import RunPodProvider

WORD = "imitated"


class ImitatedRunPod(RunPodProvider):
    """Its pods are processes on this machine, which really train."""

    label: ClassVar[str] = f"RunPod ({WORD})"
    poll_seconds: ClassVar[float] = 3.0  # asking costs nothing here, and somebody is watching

    def offers(self) -> Sequence[Offer]:
        note = "Trains on this machine, whatever the name of the GPU. Prices are invented, and nothing is billed."
        return [_said(offer, note) for offer in super().offers()]


class ImitatedCluster(ClusterProvider):
    """It trains nothing and makes the loss up."""

    label: ClassVar[str] = f"GPU cluster ({WORD})"
    simulated: ClassVar[bool] = True
    poll_seconds: ClassVar[float] = 3.0
    takes_base_url: ClassVar[bool] = False

    def __init__(self, account: Account | None = None) -> None:
        # A real cluster that an account names must hear nothing of a playground.
        super().__init__(replace(account, base_url="") if account else None)

    def offers(self) -> Sequence[Offer]:
        return [_said(offer, "Simulated: nothing is trained, and nothing is billed.") for offer in super().offers()]


def _said(offer: Offer, note: str) -> Offer:
    return replace(offer, label=f"{offer.label} ({WORD})", note=f"{note} {offer.note}".strip())
