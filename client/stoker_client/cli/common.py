"""What commands share: the options, the way to the server, and finding things by what people call them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import typer

from stoker_client.cli import keep
from stoker_client.client import Client
from stoker_client.errors import StokerError
from stoker_client.shapes import Dataset, Job

JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id, first characters of it, name, or “last”.")]
LOOKED_AT = 200  # newest jobs among which a name or the beginning of an id is found


@contextmanager
def connected(patience: float = 60.0) -> Iterator[Client]:
    url, token = keep.load()
    with Client(url, token, patience=patience, on_wait=_tell) as client:
        yield client


def _tell(trouble: str, seconds: float) -> None:
    if seconds >= 2:
        print(f"The server cannot be used now ({trouble}); trying again in {seconds:.0f} s.", file=sys.stderr)


def job_id(client: Client, called: str) -> str:
    """Raise StokerError when nothing, or more than one thing, is called so."""
    if _is_id(called):
        return called
    jobs = client.jobs.list(limit=1 if called == "last" else LOOKED_AT)
    if called == "last":
        if not jobs:
            raise StokerError("You have no jobs yet. Make one with: stoker jobs create")
        return jobs[0].id
    return _one(called, jobs, "job", "stoker jobs list")


def dataset_id(client: Client, called: str) -> str:
    if _is_id(called):
        return called
    return _one(called, client.datasets.list(limit=LOOKED_AT), "dataset", "stoker datasets list")


def _one(called: str, things: list[Job] | list[Dataset], what: str, command: str) -> str:
    named = [one for one in things if one.name == called]
    beginning = [one for one in things if len(called) >= 4 and one.id.startswith(called.lower())]
    found = named or beginning
    if not found:
        raise StokerError(f"You have no {what} “{called}”. See: {command}")
    if len(found) > 1:
        ids = ", ".join(one.id[:8] for one in found[:5])
        raise StokerError(f"{len(found)} of your {what}s are called “{called}”: {ids}. Name one by its id.")
    return found[0].id


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def seconds(text: str) -> float:
    """“90”, “90s”, “15m”, “6h” or “2d” in seconds. Raise BadParameter for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)?", text.strip())
    if not match:
        raise typer.BadParameter(f"“{text}” is no duration. Write it as 90s, 15m, 6h or 2d.")
    return float(match[1]) * {None: 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}[match[2]]


def day(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise typer.BadParameter(f"“{text}” is no day. Write it as 2026-01-31.")
    return text
