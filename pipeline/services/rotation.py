"""Sealing stored secrets anew, after a new key was put in front of the ring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models

from pipeline import vault
from pipeline.accounts import bound_to
from pipeline.models import Credential

BATCH = 500


@dataclass(frozen=True)
class Sealed:
    """A column that holds sealed values: what each is bound to, and what its row is called in a sentence."""

    model: type[models.Model]
    column: str
    bound_to: Callable[[Any], str]
    named: Callable[[Any], str]


_SEALED = [Sealed(Credential, "secret", bound_to, lambda one: f"The {one.provider} key of {one.owner.get_username()}")]


def also_reseal(sealed: Sealed) -> None:
    """Apps that this one does not know add their columns, in AppConfig.ready()."""
    _SEALED.append(sealed)


@dataclass
class Tally:
    seen: int = 0
    current: int = 0  # sealed with the newest key already
    resealed: int = 0
    changed: int = 0  # saved by their owner meanwhile, and so with the newest key
    failed: int = 0


def reseal(tally: Tally, *, dry_run: bool = False) -> Iterator[str]:
    """Seal every stored secret with the newest key of the ring, and count in `tally`.

    Yield a sentence for each that cannot be opened, and an empty text after each batch. Safe to interrupt and to
    repeat, also while people save keys.
    """
    for sealed in _SEALED:
        yield from _reseal(sealed, tally, dry_run)


def _reseal(sealed: Sealed, tally: Tally, dry_run: bool) -> Iterator[str]:
    last = None
    while batch := _after(sealed, last):
        for row in batch:
            tally.seen += 1
            blob = bytes(getattr(row, sealed.column))
            if vault.is_current(blob):
                tally.current += 1
                continue
            try:
                opened = vault.unseal(blob, sealed.bound_to(row))
            except vault.Unopenable as error:
                tally.failed += 1
                yield f"{sealed.named(row)} was left as it is. {error}"
                continue
            if dry_run or _replace(sealed, row, blob, vault.seal(opened, sealed.bound_to(row))):
                tally.resealed += 1
            else:
                tally.changed += 1
        last = batch[-1].pk
        yield ""


def _after(sealed: Sealed, last: object) -> list[Any]:
    rows = sealed.model._default_manager.select_related("owner").order_by("pk")
    return list((rows if last is None else rows.filter(pk__gt=last))[:BATCH])


def _replace(sealed: Sealed, row: Any, before: bytes, after: bytes) -> bool:
    """Only what was read is replaced: a secret that its owner saved since then is a newer one."""
    unchanged = sealed.model._default_manager.filter(**{"pk": row.pk, sealed.column: before})
    return bool(unchanged.update(**{sealed.column: after}))
