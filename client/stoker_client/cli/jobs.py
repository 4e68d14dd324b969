"""Commands about jobs that are there already. Making one is in `making`, watching one in `watching`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from stoker_client.cli import exit_code, making, show, watching
from stoker_client.cli.common import JobArgument, JsonOption, connected, job_id, seconds
from stoker_client.cli.datasets import bar
from stoker_client.client import Client
from stoker_client.errors import StillWaiting
from stoker_client.shapes import Job, LogLine

app = typer.Typer(help="Make jobs, watch them, end them, fetch what they leave.", no_args_is_help=True)
app.command("create")(making.create)
JobArguments = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids, first characters of them, or names.")]


@app.command("list")
def list_jobs(
    status: Annotated[str, typer.Option(help="One or more, parted by commas: running,queued")] = "",
    search: Annotated[str, typer.Option(help="Part of a name or a base model.")] = "",
    provider: Annotated[str, typer.Option()] = "",
    ordering: Annotated[
        str, typer.Option(help="name, status, progress, current_cost, ...; “-” in front turns it.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1)] = 20,
    as_json: JsonOption = False,
) -> None:
    """Your jobs, the newest first."""
    with connected() as client:
        found = client.jobs.list(limit=limit, status=status, search=search, provider=provider, ordering=ordering)
    if as_json:
        show.as_json([one.data for one in found])
        return
    rows = [
        (one.id[:8], show.plain(one.name), show.status(one.status, one.status_label), f"{one.progress:.0f} %",
         show.number(one.current_metrics.get("loss")), show.money(_cost(one)),
         show.plain(f"{one.provider} {one.gpu_type}"), show.ago(one.created_at))
        for one in found
    ]  # fmt: skip
    columns = ("Id", "Name", "Status", "Done", "Loss", "Cost", "Where", "Made")
    empty = "You have no such jobs." if status or search or provider else "You have no jobs yet."
    show.table(columns, rows, empty, right=("Done", "Loss", "Cost"))


@app.command("show")
def show_job(job: JobArgument, as_json: JsonOption = False) -> None:
    """One job: what it was made with, how far it is, what it costs."""
    with connected() as client:
        found = client.jobs.get(job_id(client, job))
        page = client.transport.url + str(found.data.get("url", ""))
    if as_json:
        show.as_json(found.data)
        return
    made = found.data["configuration"]
    step = f", step {found.current_step:,} of {found.total_steps:,}" if found.total_steps else ""
    where = f"{found.provider}, {made['gpu_config']['count']} × {found.gpu_type}"
    facts = [
        ("Status", show.status(found.status, found.status_label) + _in_brackets(found.stage_label, found)),
        ("Why", show.plain(found.reason_text)),
        ("Error", show.plain(found.error_message)),
        ("Progress", f"{found.progress:.0f} %{step}"),
        ("Left", show.duration(found.eta_seconds) if found.eta_seconds is not None else ""),
        ("Model", show.plain(found.base_model)),
        ("Dataset", show.plain(made["dataset"]["name"])),
        ("Preset", show.plain(made["preset"] or "")),
        ("Where", show.plain(where)),
        ("Cost", f"{show.money(_cost(found))}, estimated {show.money(found.estimated_cost)}"),
        ("Newest", ", ".join(f"{name} {show.number(value)}" for name, value in found.current_metrics.items())),
        ("Page", page),
    ]
    out = show.console()
    out.print(f"[bold]{show.plain(found.name)}[/]  {found.id}")
    for name, value in facts:
        if value:
            out.print(f"  {name:<9} {value}", soft_wrap=True)


@app.command()
def watch(
    job: JobArgument,
    metric: Annotated[str, typer.Option(help="Whose curve is drawn.")] = "loss",
) -> None:
    """Follow a job live: a bar and its curve. Ctrl-C ends the watching; the job goes on.

    Exit code: 0 completed, 1 failed, 2 cancelled, 130 when the watching was ended.
    """
    with connected() as client:
        found = job_id(client, job)
    watching.watch_and_exit(found, metric)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Only the last so many lines, of at most 500.")] = None,
    search: Annotated[str, typer.Option(help="Only lines that hold this text.")] = "",
    as_json: JsonOption = False,
) -> None:
    """What the training program wrote. With --json each line is an object."""
    with connected(patience=3600 if follow else 60) as client:
        found = job_id(client, job)
        place = (1, 0)
        if tail is not None or follow:
            newest = list(client.jobs.logs(found, after=None, q=search))
            shown = (20 if follow else 0) if tail is None else tail
            for line in newest[max(0, len(newest) - shown) :]:
                _print_line(line, as_json)
            place = (newest[-1].attempt, newest[-1].n) if newest else place
        if tail is not None and not follow:
            return
        try:
            while True:
                ended = not follow or client.jobs.get(found).has_ended  # before the look, so that no line is missed
                for line in client.jobs.logs(found, after=place, q=search):
                    _print_line(line, as_json)
                    place = (line.attempt, line.n)
                if ended:
                    return
                time.sleep(1)
        except KeyboardInterrupt:
            print("The job goes on.", file=sys.stderr)
            raise


def _print_line(line: LogLine, as_json: bool) -> None:
    if as_json:
        print(json.dumps(line.data, ensure_ascii=False), flush=True)
    else:
        text = "".join(c if c.isprintable() or c == "\t" else "�" for c in line.text)
        print(f"{show.clock(line.at)}  {text}", flush=True)


@app.command()
def events(job: JobArgument, as_json: JsonOption = False) -> None:
    """What happened to a job, oldest first."""
    with connected() as client:
        found = list(client.jobs.events(job_id(client, job)))
    if as_json:
        show.as_json([one.data for one in found])
        return
    show.table(("When", "What"), ((show.clock(one.at), show.plain(one.message)) for one in found), "Nothing yet.")


@app.command()
def start(job: JobArgument, as_json: JsonOption = False) -> None:
    """Start a saved job."""
    with connected() as client:
        _told(client, client.jobs.start(job_id(client, job)), as_json)


@app.command()
def cancel(
    jobs: JobArguments,
    wait: Annotated[bool, typer.Option("--wait", help="Until their machines are gone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """End jobs. Each is “cancelled” only when its machine was seen to be gone."""
    with connected() as client:
        ended = [client.jobs.cancel(job_id(client, job)) for job in jobs]
        if wait:
            ended = [client.jobs.wait(one.id) for one in ended]
    if as_json:
        show.as_json([one.data for one in ended])
        return
    for one in ended:
        print(f"“{one.name}” ({one.id[:8]}) is {one.status}.")


@app.command()
def retry(job: JobArgument, as_json: JsonOption = False) -> None:
    """Try an ended job again, as a new job."""
    with connected() as client:
        _told(client, client.jobs.retry(job_id(client, job)), as_json)


@app.command()
def resume(
    job: JobArgument,
    checkpoint: Annotated[str | None, typer.Option(help="Id of a checkpoint. Left out: the newest.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Go on with an ended job at a checkpoint, as a new job."""
    with connected() as client:
        _told(client, client.jobs.resume(job_id(client, job), checkpoint), as_json)


@app.command()
def save(job: JobArgument, as_json: JsonOption = False) -> None:
    """Ask a running job for a checkpoint, without stopping it."""
    with connected() as client:
        _told(client, client.jobs.save(job_id(client, job)), as_json)


@app.command()
def delete(job: JobArgument) -> None:
    """Delete a job that never started or has ended."""
    with connected() as client:
        client.jobs.delete(job_id(client, job))
    print("Deleted.")


@app.command()
def wait(
    jobs: JobArguments,
    timeout: Annotated[str | None, typer.Option(help="How long at most: 90s, 15m, 6h, 2d.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Wait until jobs have ended.

    Exit code: 0 when all completed, 1 when one failed, 2 when one was cancelled, 3 when the time was over first.
    """
    longest = None if timeout is None else seconds(timeout)
    end = None if longest is None else time.monotonic() + longest
    with connected(patience=3600) as client:
        ended = []
        for found in [job_id(client, job) for job in jobs]:
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                ended.append(client.jobs.wait(found, timeout=left))
            except StillWaiting:
                name = client.jobs.get(found).name
                raise StillWaiting(f"“{name}” has not ended within {show.duration(longest)}. It goes on.") from None
    if as_json:
        show.as_json([one.data for one in ended])
    else:
        for one in ended:
            print(f"“{one.name}” ({one.id[:8]}) {one.status}: {one.reason_text} It cost {show.money(_cost(one))}.")
    raise typer.Exit(exit_code(one.status for one in ended))


@app.command()
def artifacts(job: JobArgument, as_json: JsonOption = False) -> None:
    """Files that a job left."""
    with connected() as client:
        found = client.jobs.artifacts(job_id(client, job))
    if as_json:
        show.as_json([one.data for one in found])
        return
    rows = [
        (one.id[:8], one.kind, show.plain(one.name), one.step, show.size(one.size_bytes), one.state) for one in found
    ]
    show.table(("Id", "Kind", "Name", "Step", "Size", "State"), rows, "It left no files.", right=("Step", "Size"))


@app.command()
def download(
    job: JobArgument,
    to: Annotated[Path, typer.Option("--to", "-o", help="A folder or a file name.")] = Path("."),
    artifact: Annotated[str | None, typer.Option(help="Id, kind or name. Left out: the adapter.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the adapter, or another file. Its SHA-256 is checked."""
    with connected() as client, bar("Downloading") as told:
        path = client.jobs.download(job_id(client, job), to, artifact=artifact, progress=told)
    if as_json:
        show.as_json({"path": str(path), "size_bytes": path.stat().st_size})
    else:
        print(f"{path} ({show.size(path.stat().st_size)})")


@app.command()
def metrics(
    job: JobArgument,
    to: Annotated[Path | None, typer.Option("--to", "-o", help="A .csv or .json file for all points.")] = None,
    metric: Annotated[str, typer.Option(help="Whose curve is drawn.")] = "loss",
    as_json: JsonOption = False,
) -> None:
    """Draw a curve, or fetch every point as a file."""
    with connected() as client:
        found = job_id(client, job)
        if to is not None:
            print(client.jobs.metrics_file(found, to))
            return
        series = client.jobs.metrics(found)
    if as_json:
        curves = {name: {"step": steps, "value": values} for name, (steps, values) in series.curves.items()}
        show.as_json({"seq": series.seq, "series": curves})
        return
    names = ", ".join(sorted(series.curves)) or "none yet"
    lines = watching.curve(series, metric, show.console().width)
    print("\n".join(lines) if lines else f"There is no “{metric}” yet. There is: {names}.")


def _told(client: Client, job: Job, as_json: bool) -> None:
    if as_json:
        show.as_json(job.data)
    else:
        print(f"“{job.name}” ({job.id}) is {job.status}: {client.transport.url}{job.data['url']}")


def _cost(job: Job) -> float | None:
    return job.final_cost if job.final_cost is not None else job.current_cost


def _in_brackets(stage: str, job: Job) -> str:
    return f" ({show.plain(stage)})" if stage and not job.has_ended else ""
