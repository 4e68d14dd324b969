"""The demo: a small real model learns to answer with function calls, on this machine, watched live.

It does nothing that a person could not do on the pages: it makes a user, uploads a dataset, starts a job, follows it.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.urls import reverse

from datasets import services as datasets
from datasets.models import Dataset, Status
from frontend.signin import make_link
from pipeline.config.demo_assets import DemoAssets
from pipeline.models import Job
from pipeline.services import jobs
from pipeline.states import ACTIVE, JobStatus

Say = Callable[[str], None]

USERNAME = "demo"
LOOK_SECONDS = 0.5
STEPS_A_LINE = 5
CHECK_SECONDS = 120
CANCEL_SECONDS = 20
MEAN_OF = 5  # losses: one row a step is noisy
SHOWN_SAMPLES = 4
# Small steps, quick to watch: about a minute on two cores. Everything else is the table's default.
HYPERPARAMETERS: dict[str, Any] = {
    "max_steps": 40,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "warmup_steps": 0.05,
    "r": 8,
    "lora_alpha": 16,
    "max_length": 512,
    "logging_steps": 1,
    "save_steps": 20,
    "eval_steps": 20,
    "validation_split": 0.02,
    "held_out_samples": 8,
    "sample_max_new_tokens": 80,
}


class DemoFailed(Exception):
    """The message is a sentence."""


def begin(assets: DemoAssets) -> tuple[Job, str]:
    """Make user, dataset and job, and start it. Return the job and a one-time address that signs in and shows it."""
    user = _user()
    dataset = _dataset(user, assets.dataset)
    job = jobs.create_job(
        user,
        name="Demo: function calls",
        dataset=dataset,
        base_model=assets.model_name,
        provider="local",
        hyperparameters=HYPERPARAMETERS,
        max_duration=3600,
        start=True,
    )
    return job, settings.STOKER_PUBLIC_URL + make_link(user, page(job))


def page(job: Job) -> str:
    return reverse("frontend:job", args=[job.pk])


class Told:
    """What a terminal that keeps its lines was told of a run: what it does, each thing once, and every fifth step."""

    def __init__(self) -> None:
        self.doings: set[str] = set()
        self.step = 0

    def is_news(self, job: Job) -> bool:
        if job.current_step < self.step:  # another attempt begins
            self.doings, self.step = set(), 0
        doing = job.stage_detail or job.current_stage
        farther = job.current_step >= self.step + STEPS_A_LINE
        if doing in self.doings and not farther:
            return False
        self.doings.add(doing)
        self.step = job.current_step
        return True


def follow(job: Job, say: Say) -> None:
    """Return when the job has ended; until then show how it does, on one line where the terminal can rewrite lines."""
    live = sys.stdout.isatty()
    told = Told()
    while _refresh(job) and job.status in ACTIVE:
        if live:
            print(f"\r\033[K{_progress(job)}", end="", flush=True)
        elif told.is_news(job):
            say(_progress(job))
        time.sleep(LOOK_SECONDS)
    if live:
        print("\r\033[K", end="", flush=True)


def cancel(job: Job, say: Say) -> None:
    """End an active job and wait a moment, so that the demo leaves nothing running behind."""
    _refresh(job)
    if job.status not in ACTIVE:
        return
    say("Cancelling the job ...")
    try:
        jobs.request_cancel(job.pk, actor=USERNAME)
    except jobs.Conflict:
        return  # it has ended by itself meanwhile
    deadline = time.monotonic() + CANCEL_SECONDS
    while _refresh(job) and job.status in ACTIVE and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def summary(job: Job) -> dict[str, Any]:
    """What came out, for people and for scripts."""
    points = job.metric_points.order_by("step").values_list("loss", flat=True)
    losses = [loss for loss in points if loss is not None]
    samples = list(job.samples.all())
    return {
        "job": str(job.pk),
        "status": str(job.status),
        "provider": job.provider,
        "base_model": job.base_model,
        "steps": job.current_step,
        "first_loss": round(fmean(losses[:MEAN_OF]), 4) if losses else None,
        "last_loss": round(fmean(losses[-MEAN_OF:]), 4) if losses else None,
        "metrics_stored": job.metric_points.count(),
        "artifact": str(job.artifact_id) if job.artifact_id else None,
        "artifact_bytes": job.artifact.size_bytes if job.artifact else None,
        "seconds": round((job.completed_at - job.created_at).total_seconds(), 1) if job.completed_at else None,
        "monitor_url": settings.STOKER_PUBLIC_URL + page(job),
        "valid_before": sum(sample.valid_before is True for sample in samples),
        "valid_after": sum(sample.valid_after is True for sample in samples),
        "exact_before": sum(sample.exact_before is True for sample in samples),
        "exact_after": sum(sample.exact_after is True for sample in samples),
        "held_out": len(samples),
    }


def tell(job: Job, result: dict[str, Any], say: Say) -> None:
    """The end of the job in words, and some held-out prompts with both answers side by side."""
    if job.status != JobStatus.COMPLETED:
        say(f"The job {job.get_status_display().lower()}: {job.error_message or job.get_reason_display()}")
        return
    say(
        f"Completed in {result['seconds']:.0f} s: loss {result['first_loss']} -> {result['last_loss']} over "
        f"{result['steps']} steps, adapter of {result['artifact_bytes'] / 1e6:.1f} MB stored."
    )
    if not result["held_out"]:
        return
    say(
        f"Of {result['held_out']} prompts it never trained on, the base model answered {result['valid_before']} with "
        f"valid JSON, the adapter {result['valid_after']}; exactly as expected: {result['exact_before']} and "
        f"{result['exact_after']}."
    )
    width = min(shutil.get_terminal_size((120, 24)).columns, 160)
    for sample in job.samples.all()[:SHOWN_SAMPLES]:
        say("")
        for line in _side_by_side(sample, width):
            say(line)


def _user() -> User:
    """May open the admin too: whoever can run this command can do all that anyway. Signs in by link only."""
    user, made = get_user_model().objects.get_or_create(
        username=USERNAME, defaults={"is_staff": True, "is_superuser": True}
    )
    if made:
        user.set_unusable_password()
        user.save(update_fields=["password"])
    return user


def _dataset(user: User, path: Path) -> Dataset:
    """The demo's rows, uploaded and checked; those of an earlier demo when they are still there."""
    dataset = Dataset.objects.filter(owner=user, original_filename=path.name, status=Status.READY).first()
    if dataset is not None:
        return dataset
    dataset = datasets.create_from_path(user, path, name="Function calls")
    deadline = time.monotonic() + CHECK_SECONDS
    while dataset.status not in (Status.READY, Status.REJECTED):
        if time.monotonic() > deadline:
            raise DemoFailed(f"The dataset was not checked within {CHECK_SECONDS} s. See the worker's log.")
        time.sleep(0.1)
        dataset.refresh_from_db()
    if dataset.status != Status.READY:
        raise DemoFailed("The demo's dataset was rejected. See its page for the reasons.")
    return dataset


def _refresh(job: Job) -> bool:
    """Read the job again; a database that is just being started again is waited for. Always true."""
    while True:
        try:
            job.refresh_from_db()
            return True
        except OperationalError:
            connection.close()
            time.sleep(LOOK_SECONDS)


def _progress(job: Job) -> str:
    if not job.total_steps or not job.current_step:
        return f"{job.get_status_display()}: {job.stage_detail or job.current_stage.replace('_', ' ')} ..."
    done = round(20 * job.current_step / job.total_steps)
    parts = [f"[{'#' * done}{'.' * (20 - done)}] step {job.current_step}/{job.total_steps}"]
    if (loss := job.current_metrics.get("loss")) is not None:
        parts.append(f"loss {loss:.4f}")
    if job.current_stage != "training":
        parts.append(job.current_stage.replace("_", " "))
    elif job.eta_seconds:
        parts.append(f"about {job.eta_seconds:.0f} s left")
    return "  ".join(parts)


def _side_by_side(sample: Any, width: int) -> list[str]:
    half = (width - 3) // 2
    before = textwrap.wrap(sample.before or "(no answer)", half) or [""]
    after = textwrap.wrap(sample.after or "(no answer)", half) or [""]
    height = min(max(len(before), len(after)), 8)
    before, after = before[:height], after[:height]
    lines = [
        textwrap.shorten(f"Question: {_question(sample.prompt)}", width, placeholder=" ..."),
        textwrap.shorten(f"Expected: {sample.expected}", width, placeholder=" ..."),
        f"{'Base model':<{half}} | With the adapter",
        f"{'-' * half}-+-{'-' * half}",
    ]
    for row in range(height):
        left = before[row] if row < len(before) else ""
        right = after[row] if row < len(after) else ""
        lines.append(f"{left:<{half}} | {right}".rstrip())
    return lines


def _question(prompt: Any) -> str:
    """The last thing the user said: a prompt is a text, or a list of {"role", "content"}."""
    if isinstance(prompt, list):
        said = [turn.get("content", "") for turn in prompt if isinstance(turn, dict) and turn.get("role") == "user"]
        return str(said[-1]) if said else ""
    return str(prompt)
