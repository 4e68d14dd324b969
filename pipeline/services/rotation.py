"""Sealing stored secrets anew, after a new key was put in front of the ring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline import vault
from pipeline.accounts import bound_to
from pipeline.models import Credential

BATCH = 500


@dataclass
class Tally:
    seen: int = 0
    current: int = 0  # sealed with the newest key already
    resealed: int = 0
    changed: int = 0  # saved by their owner meanwhile, and so with the newest key
    failed: int = 0


def reseal(tally: Tally, *, dry_run: bool = False) -> Iterator[str]:
    """Seal every stored key with the newest key of the ring, and count in `tally`.

    Yield a sentence for each that cannot be opened, and an empty text after each batch. Safe to interrupt and to
    repeat, also while people save keys.
    """
    last = None
    while batch := _after(last):
        for credential in batch:
            tally.seen += 1
            if vault.is_current(bytes(credential.secret)):
                tally.current += 1
                continue
            try:
                opened = vault.unseal(bytes(credential.secret), bound_to(credential))
            except vault.Unopenable as error:
                tally.failed += 1
                yield f"The {credential.provider} key of {credential.owner.get_username()} was left as it is. {error}"
                continue
            if dry_run or _replace(credential, vault.seal(opened, bound_to(credential))):
                tally.resealed += 1
            else:
                tally.changed += 1
        last = batch[-1].pk
        yield ""


def _after(last: object) -> list[Credential]:
    rows = Credential.objects.select_related("owner").order_by("pk")
    return list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])


def _replace(credential: Credential, sealed: bytes) -> bool:
    """Only what was read is replaced: a key that its owner saved since then is a newer one."""
    return bool(Credential.objects.filter(pk=credential.pk, secret=credential.secret).update(secret=sealed))
