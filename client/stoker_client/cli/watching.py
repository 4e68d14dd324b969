"""A job, live in the terminal: one line about it, a bar, the curve, and what happened last."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stoker_client.cli import INTERRUPTED, exit_code, show
from stoker_client.cli.common import connected
from stoker_client.client import Client
from stoker_client.curve import draw
from stoker_client.shapes import Frame, Job, Series

CURVE_HEIGHT = 10
WIDEST = 110
EVENTS = 4
PLAIN_EVERY = 5.0  # seconds between two lines about steps where there is no terminal


@dataclass
class Watched:
    """What is known of a job so far. Frames only ever add to it."""

    job: Job
    metric: str
    values: dict[int, Any] = field(default_factory=dict)  # by step
    held_out: dict[int, Any] = field(default_factory=dict)
    events: deque[tuple[str, str, str]] = field(default_factory=lambda: deque(maxlen=EVENTS))
    trouble: str = ""

    def take(self, frame: Frame) -> None:
        self.job, self.trouble = frame.job, ""
        for name, values in ((self.metric, self.values), (f"eval_{self.metric}", self.held_out)):
            if name in frame.metrics:
                pairs = zip(frame.metrics["step"], frame.metrics[name], strict=True)
                values.update((step, value) for step, value in pairs if value is not None)
        for event in frame.events:
            self.events.append((show.clock(event.at), event.level, event.message))

    def begin(self, series: Series) -> None:
        for name, values in ((self.metric, self.values), (f"eval_{self.metric}", self.held_out)):
            steps, numbers = series.curves.get(name, ([], []))
            values.update(zip(steps, numbers, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, WIDEST)
        yield Group(
            self._head(), self._bar(width), *self._curve(width, options.height or console.height), *self._foot()
        )

    def _head(self) -> Text:
        job = self.job
        head = Text(no_wrap=True, overflow="ellipsis")
        head.append(job.name, style="bold")
        head.append("  ")
        head.append(job.status_label, style=show.COLOURS.get(job.status, ""))
        if job.stage_label and not job.has_ended:
            head.append(f" · {job.stage_label}", style="dim")
        head.append(f"  {job.base_model} on {job.provider} {job.gpu_type}", style="dim")
        return head

    def _bar(self, width: int) -> Table:
        job = self.job
        cost = job.final_cost if job.final_cost is not None else job.current_cost
        parts = [f"{job.progress:3.0f} %"]
        if job.total_steps:
            parts.append(f"step {job.current_step:,}/{job.total_steps:,}")
        if self.metric in job.current_metrics:
            parts.append(f"{self.metric} {show.number(job.current_metrics[self.metric])}")
        if cost is not None:
            parts.append(show.money(cost))
        if job.eta_seconds is not None and not job.has_ended:
            parts.append(f"{show.duration(job.eta_seconds)} left")
        words = Text("  ".join(parts), no_wrap=True)
        row = Table.grid(padding=(0, 1))
        row.add_row(ProgressBar(total=100, completed=job.progress, width=max(8, width - words.cell_len - 2)), words)
        return row

    def _curve(self, width: int, screen: int) -> Iterator[Text]:
        height = max(3, min(CURVE_HEIGHT, screen - EVENTS - 6))
        steps = sorted(self.values)
        lines = draw(steps, [self.values[step] for step in steps], width, height, self.job.total_steps)
        if not lines:
            yield Text("" if self.job.has_ended else "Waiting for training data...", style="dim")
            return
        for line in lines[:-1]:
            yield Text(line, style="cyan", no_wrap=True)
        yield Text(lines[-1], style="dim", no_wrap=True)
        if self.held_out:
            step = max(self.held_out)
            yield Text(f"eval_{self.metric} {show.number(self.held_out[step])} at step {step:,}", style="dim")

    def _foot(self) -> Iterator[Text]:
        for at, level, message in self.events:
            style = {"warning": "yellow", "error": "red"}.get(level, "")
            yield Text.assemble((f"{at}  ", "dim"), (_visible(message), style), no_wrap=True, overflow="ellipsis")
        if self.trouble:
            yield Text(f"No answer from the server: {self.trouble}. The job goes on; trying again.", style="yellow")


def watch_and_exit(job_id: str, metric: str = "loss") -> None:
    """Watch on a connection that is patient: the server may be away for long while the job goes on."""
    with connected(patience=3600) as client:
        status = watch(client, job_id, metric)
    raise typer.Exit(INTERRUPTED if status is None else exit_code([status]))


def watch(client: Client, job_id: str, metric: str = "loss") -> str | None:
    """Show a job until it has ended, and return its status; None when Ctrl-C ended the watching first."""
    series = client.jobs.metrics(job_id)
    watched = Watched(client.jobs.get(job_id), metric)
    watched.begin(series)
    try:
        if sys.stdout.isatty():
            _live(client, watched, series.seq)
        else:
            _lines(client, watched, series.seq)
    except KeyboardInterrupt:
        print(
            f"\nNo longer watching. The job goes on. Watch it again: stoker jobs watch {job_id[:8]}"
            f"   End it: stoker jobs cancel {job_id[:8]}",
            file=sys.stderr,
        )
        return None
    job = watched.job
    cost = f" It cost {show.money(job.final_cost)}." if job.final_cost is not None else ""
    adapter = f" Fetch the adapter with: stoker jobs download {job_id[:8]}" if job.artifact_id else ""
    error = f" {_visible(job.error_message)}" if job.error_message else ""
    print(f"{job.status_label}. {_visible(job.reason_text)}{error}{cost}{adapter}")
    return job.status


def _live(client: Client, watched: Watched, after: int) -> None:
    with Live(watched, console=Console(highlight=False), refresh_per_second=4, vertical_overflow="crop") as live:

        def note(trouble: str, seconds: float) -> None:
            watched.trouble = trouble
            live.refresh()

        client.transport.on_wait = note
        for frame in client.jobs.follow(watched.job.id, after=after):
            watched.take(frame)
            live.refresh()


def _lines(client: Client, watched: Watched, after: int) -> None:
    """For a log file: what happened, and now and then how far it is."""
    said_at, said = 0.0, -1
    for frame in client.jobs.follow(watched.job.id, after=after):
        watched.take(frame)
        for event in frame.events:
            print(f"{show.clock(event.at)}  {_visible(event.message)}", flush=True)
        job = frame.job
        if job.current_step != said and (time.monotonic() - said_at >= PLAIN_EVERY or job.has_ended):
            said_at, said = time.monotonic(), job.current_step
            loss = show.number(job.current_metrics.get(watched.metric))
            steps = f"step {job.current_step}/{job.total_steps or '?'}"
            print(
                f"{job.progress:3.0f} %  {steps}  {watched.metric} {loss}  {show.money(job.current_cost)}", flush=True
            )


def curve(series: Series, metric: str, width: int) -> list[str]:
    if metric not in series.curves:
        return []
    steps, values = series.curves[metric]
    return draw(steps, values, min(width, WIDEST), CURVE_HEIGHT)


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
