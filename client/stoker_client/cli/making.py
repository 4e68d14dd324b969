"""`stoker jobs create`: options and a file become one request, which can be tried out first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from stoker_client.cli import show, watching
from stoker_client.cli.common import JsonOption, connected, dataset_id, seconds
from stoker_client.client import Client
from stoker_client.shapes import Estimate, NewJob


def create(
    name: Annotated[str | None, typer.Option()] = None,
    dataset: Annotated[str | None, typer.Option(help="Id, first characters of it, or name.")] = None,
    eval_dataset: Annotated[str | None, typer.Option(help="Its validation set.")] = None,
    base_model: Annotated[str | None, typer.Option("--base-model", "--model", help="organisation/model")] = None,
    preset: Annotated[str | None, typer.Option(help="See: stoker presets. “none” for none.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter; may come often.")
    ] = None,
    provider: Annotated[str | None, typer.Option(help="See: stoker providers")] = None,
    gpu: Annotated[str | None, typer.Option(help="Left out: the provider's first.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many of them.")] = None,
    cloud: Annotated[str | None, typer.Option()] = None,
    fallback: Annotated[
        list[str] | None, typer.Option(metavar="GPU[:CLOUD]", help="Taken when there is none; may come often.")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0.01, help="US dollars at which it is stopped.")] = None,
    max_duration: Annotated[str | None, typer.Option(help="Running time: 90m, 6h, 2d.")] = None,
    priority: Annotated[int | None, typer.Option(min=-100, max=100, help="Higher is submitted first.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=20, help="When causes that may pass end it.")] = None,
    resume_from: Annotated[str | None, typer.Option(help="Id of a checkpoint with which it begins.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON object as for POST /api/jobs/; options outdo it.")
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="At once, instead of only saving it.")] = False,
    watch_it: Annotated[bool, typer.Option("--watch", help="Start it and follow it live.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and cost; make nothing.")] = False,
    key: Annotated[
        str | None, typer.Option(help="Idempotency key: repeated within a day, it makes no second job.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a job."""
    job = _read(file)
    gpu_config: dict[str, Any] = {"provider": provider, "type": gpu, "count": count, "cloud": cloud}
    gpu_config["fallbacks"] = [_fallback(one) for one in fallback] if fallback else None
    given: dict[str, Any] = {
        "name": name,
        "base_model": base_model,
        "budget_limit": None if budget is None else f"{budget:.2f}",
        "max_duration": None if max_duration is None else round(seconds(max_duration)),
        "priority": priority,
        "resume_from": resume_from,
        "start": True if start or watch_it else None,
    }
    job |= {field: value for field, value in given.items() if value is not None}
    for field, more in (
        ("hyperparameters", dict(map(_setting, set_ or []))),
        ("gpu_config", {field: value for field, value in gpu_config.items() if value is not None}),
        ("retry_policy", {} if max_attempts is None else {"max_attempts": max_attempts}),
    ):
        if more:
            job[field] = {**job.get(field, {}), **more}
    if preset is not None:
        job["preset"] = None if preset == "none" else preset
    with connected() as client:
        for field, called in (("dataset", dataset), ("eval_dataset", eval_dataset)):
            if called is not None:
                job[field] = dataset_id(client, called)
        asked: NewJob = job  # type: ignore[assignment]  # the server checks it, and says what is wrong
        if dry_run:
            _show_plan(client, asked, client.estimate(**asked), as_json)
            return
        made = client.jobs.create(key=key, **asked)
        if as_json and not watch_it:
            show.as_json(made.data)
        elif not as_json:
            page = f"{client.transport.url}{made.data['url']}"
            how = "queued" if job.get("start") else f"saved. Start it with: stoker jobs start {made.id[:8]}"
            print(f"“{made.name}” ({made.id}) is {how}" + (f": {page}" if job.get("start") else ""))
    if watch_it:
        watching.watch_and_exit(made.id)


def _show_plan(client: Client, job: NewJob, estimate: Estimate, as_json: bool) -> None:
    if as_json:
        show.as_json(estimate.data)
        return
    gpu = job.get("gpu_config", {})
    where = f"{gpu.get('count', 1)} × {gpu.get('type') or 'the first machine'} at {gpu.get('provider', 'local')}"
    data = client.datasets.get(str(job["dataset"])) if job.get("dataset") else None
    rows = f" ({data.row_count or 0:,} rows)" if data else ""
    print(f"Would train {job.get('base_model')} on “{data.name if data else '?'}”{rows}, {where},")
    price = f"at {show.money(estimate.price_per_hour)} an hour"
    if estimate.hours is None or estimate.total is None:
        print(f"{price}; for how long is not known. {estimate.basis}")
    else:
        hours = show.duration(float(estimate.hours) * 3600)
        print(f"{price}, for about {hours} and {show.money(estimate.total)} ({estimate.confidence}). {estimate.basis}")
    if estimate.holds is not None:
        print(f"It would hold {show.money(estimate.holds)} and be stopped before it costs more.")
    what = "It would start at once." if job.get("start") else "It would be saved, not started."
    print(f"It could not start now: {estimate.problem}" if estimate.problem else what)
    print("Nothing was made.")


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise typer.BadParameter(f"“{file}” cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise typer.BadParameter(f"“{file}” is not JSON: {error}.") from None
    if not isinstance(told, dict):
        raise typer.BadParameter(f'“{file}” holds no JSON object, such as {{"name": "first"}}.')
    return told


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise typer.BadParameter(f"“{text}” is no setting. Write it as --set learning_rate=2e-4.")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


def _fallback(text: str) -> dict[str, str]:
    kind, _, cloud = text.partition(":")
    return {"type": kind} | ({"cloud": cloud} if cloud else {})
