from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from stoker_client.cli import FAILED, show
from stoker_client.cli.common import JsonOption, connected, dataset_id, seconds
from stoker_client.shapes import Dataset

app = typer.Typer(help="Upload datasets and see whether they passed their check.", no_args_is_help=True)


@app.command()
def push(
    file: Annotated[Path, typer.Argument(help="A .jsonl file, one JSON object a line.")],
    name: Annotated[str, typer.Option(help="Left out: the file's.")] = "",
    format: Annotated[str, typer.Option(help="Left out: found by the check.")] = "",  # noqa: A002 - the option's name
    validation_for: Annotated[str | None, typer.Option(help="The dataset that this one is held out for.")] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until its check has ended; exit code 1 when it failed.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="How long to wait: 90s, 15m, 2h. Then the exit code is 3.")] = "1h",
    as_json: JsonOption = False,
) -> None:
    """Upload a file."""
    longest = seconds(timeout)
    with connected() as client:
        training = dataset_id(client, validation_for) if validation_for else None
        with bar(f"Uploading {file.name}") as told:
            dataset = client.datasets.push(file, name=name, format=format, validation_for=training, progress=told)
        if wait:
            dataset = client.datasets.wait(dataset.id, timeout=longest)
    if as_json:
        show.as_json(dataset.data)
    else:
        print(_sentence(dataset))
    if wait and not dataset.training_ready:
        raise typer.Exit(FAILED)


@app.command("list")
def list_datasets(
    search: Annotated[str, typer.Option(help="Part of a name.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Your datasets, the newest first."""
    with connected() as client:
        found = client.datasets.list(search=search, limit=limit)
    if as_json:
        show.as_json([one.data for one in found])
        return
    rows = [
        (
            one.id[:8],
            show.plain(one.name),
            one.status,
            one.row_count,
            show.size(one.size_bytes),
            show.ago(one.created_at),
        )
        for one in found
    ]
    empty = "You have no datasets yet. Upload one with: stoker datasets push FILE"
    show.table(("Id", "Name", "Status", "Rows", "Size", "Uploaded"), rows, empty, right=("Rows", "Size"))


@app.command("show")
def show_dataset(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id, first characters of it, or name.")],
    as_json: JsonOption = False,
) -> None:
    """One dataset and what its check found."""
    with connected() as client:
        found = client.datasets.get(dataset_id(client, dataset))
    if as_json:
        show.as_json(found.data)
    else:
        print(_sentence(found))


def _sentence(dataset: Dataset) -> str:
    called = f"“{dataset.name}” ({dataset.id})"
    if dataset.training_ready:
        return f"{called} is ready: {dataset.row_count or 0:,} rows, {show.size(dataset.size_bytes)}."
    if dataset.is_checked:
        return f"{called} did not pass its check. {dataset.error}"
    return f"{called} is stored and being checked."


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of bytes on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(show.plain(title), total=None)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield told
