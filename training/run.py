"""One run from the spec to the last word, phase by phase. Heavy libraries are imported only once the data is here."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import artifacts, environment, links, parallel
from training import data as rows
from training.client import Client
from training.contract import DataLink, EventKind, FailureReason, ResumePoint, RunSpec, Stage
from training.failures import RunError, StopRequested, explain
from training.gpu import Gauges
from training.records import RecordFormat
from training.reporter import Reporter
from training.stopping import StopSignal

UPLOAD_WAIT_SECONDS = 600.0  # for checkpoints that are still under way when the run is complete


@dataclass
class Context:
    """What all phases of one process need. Ranks other than the first have neither client nor reporter."""

    env: environment.Environment
    spec: RunSpec
    values: dict[str, Any]
    stop: StopSignal
    gauges: Gauges
    model_source: str
    client: Client | None = None
    reporter: Reporter | None = None
    fresh_spec: Callable[[], RunSpec] | None = None

    @property
    def checkpoints(self) -> Path:
        return self.env.work_dir / "checkpoints"

    def stage(self, stage: Stage, detail: str = "") -> None:
        if self.reporter:
            self.reporter.stage(stage, detail)

    def say(self, text: str) -> None:
        if self.reporter:
            self.reporter.text(text)


def fetch_data(ctx: Context) -> rows.Prepared:
    """Fetch and convert the rows, and put the checkpoint to resume from in its place."""
    ctx.stage(Stage.PREPARING, "Fetching the dataset")
    folder = ctx.env.work_dir / "data"
    spec, validation = ctx.spec, None
    source = _fetch(ctx, "the dataset", lambda s: s.dataset, folder / "dataset.jsonl")
    if spec.eval_dataset:
        path = _fetch(ctx, "the validation dataset", lambda s: s.eval_dataset, folder / "validation-dataset.jsonl")
        validation = (path, RecordFormat(spec.eval_dataset.format))
    prepared = rows.prepare(source, RecordFormat(spec.dataset.format), folder, ctx.values, validation)
    if spec.resume and not _has_step(ctx.checkpoints, spec.resume.step):
        ctx.stage(Stage.PREPARING, f"Fetching the checkpoint of step {spec.resume.step}")
        archive = _fetch(ctx, "the checkpoint", lambda s: s.resume, ctx.env.work_dir / "resume.zip")
        artifacts.unpack(archive, ctx.checkpoints / f"checkpoint-{spec.resume.step}")
        archive.unlink()
    return prepared


def train(ctx: Context, data: rows.Prepared) -> dict[str, Any]:
    """Train and hand in the adapter; return what the last word adds. Raise StopRequested when told to stop."""
    ctx.stage(Stage.PREPARING, f"Loading {ctx.spec.base_model}")
    from training import model as models
    from training import trainer as trainers
    from training.callback import Report

    how = models.numbers(ctx.values["bf16"])
    kind = parallel.chosen(ctx.values["parallelism"], ctx.env.world_size)
    if kind != ctx.values["parallelism"]:
        ctx.say(f"parallelism = {ctx.values['parallelism']} needs several GPUs; there is one, which holds the model.")
    cache = ctx.env.work_dir / "cache"
    trainer = trainers.build(ctx.model_source, ctx.spec.base_model, ctx.values, how, kind, data, ctx.checkpoints, cache)
    ctx.stop.check()
    uploader = None
    if ctx.client:
        uploader = artifacts.CheckpointUploader(ctx.client, ctx.env.work_dir / "upload", ctx.stop.no_time_left, ctx.say)
    report = Report(
        ctx.stop,
        ctx.reporter,
        uploader,
        ctx.gauges,
        trainers.counts(trainer, data),
        trainers.rows_per_step(trainer),
    )
    trainer.add_callback(report)
    try:
        before: list[str] = []
        if kind.places_late:  # The base model answers after the training, with the adapter switched off.
            show_samples(ctx, data, [], [], unanswered=True)
        else:
            before = answer(ctx, trainer, data, Stage.ANSWERING_BEFORE)
            show_samples(ctx, data, before, [])
        ctx.stop.check()
        resume = artifacts.newest(artifacts.complete_checkpoints(ctx.checkpoints))
        if resume:
            ctx.say(f"Going on from {resume.name}.")
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        ctx.stop.check()
        if data.validation and report.evaluated_step != trainer.state.global_step:
            ctx.stage(Stage.EVALUATING)
            trainer.evaluate()
        folder = save(ctx, trainer)
        if kind.places_late:
            before = answer(ctx, trainer, data, Stage.ANSWERING_BEFORE, together=kind.shares_weights)
        after = answer(ctx, trainer, data, Stage.ANSWERING_AFTER, together=kind.shares_weights)
        show_samples(ctx, data, before, after)
        ctx.stop.check()
        extra = hand_in(ctx, trainer.state.global_step, folder)
        if uploader and not uploader.close(UPLOAD_WAIT_SECONDS):
            ctx.say("The last checkpoint was not stored in time; the adapter is.")
    except BaseException:
        if uploader:  # A checkpoint that is on its way is what the next attempt goes on from.
            request = ctx.stop.request
            uploader.close(60.0 if request is None else max(0.0, request.until - time.monotonic() - 5.0))
        raise
    trainer.end()
    return extra


def answer(ctx: Context, trainer: Any, data: rows.Prepared, stage: Stage, together: bool = False) -> list[str]:
    """Answers to the held-out prompts, or none: that they could not be had must not end a run that trains well.

    With `together` the other processes answer too, because this one has only a part of the model.
    """
    if not (ctx.reporter or together) or not data.held_out or not trainer.model.get_base_model().can_generate():
        return []
    from training.samples import answers

    ctx.stage(stage)
    values, model = ctx.values, trainer.model
    try:
        with model.disable_adapter() if stage is Stage.ANSWERING_BEFORE else contextlib.nullcontext():
            return answers(
                model,
                trainer.processing_class,
                data.held_out,
                values["sample_max_new_tokens"],
                values["max_length"],
                lambda: ctx.stop.is_set,
                together,
            )
    except Exception as error:
        if together and not ctx.reporter and explain(error)[0] is FailureReason.OUT_OF_MEMORY:
            raise  # Others may have had enough memory and wait for this process in the midst of an answer.
        ctx.say(f"The held-out prompts were not answered: {type(error).__name__}: {error}")
        return []


def show_samples(
    ctx: Context, data: rows.Prepared, before: list[str], after: list[str], unanswered: bool = False
) -> None:
    """Report each sample; one with the same index replaces the earlier one, which had no answer of the adapter yet."""
    from training.samples import as_sample

    if not ctx.reporter:
        return
    for index, asked in enumerate(data.held_out):
        answers = [found[index] if index < len(found) else None for found in (before, after)]
        if unanswered or any(text is not None for text in answers):
            ctx.reporter.log(EventKind.SAMPLE, as_sample(index, asked, *answers).to_json())


def save(ctx: Context, trainer: Any) -> Path:
    """Write the adapter to disk. All processes call this: the first one gathers from the others and writes."""
    ctx.stage(Stage.SAVING)
    folder = ctx.env.work_dir / "adapter"
    if ctx.env.leads:
        shutil.rmtree(folder, ignore_errors=True)
    trainer.save_model(str(folder))
    return folder


def hand_in(ctx: Context, step: int, folder: Path) -> dict[str, Any]:
    """Upload the adapter; a run counts as complete only when the server has checked the file."""
    if not ctx.client:
        return {}
    artifacts.name_base_model(folder, ctx.spec.base_model)
    (folder / "README.md").unlink(missing_ok=True)  # a template with empty headings
    archive = artifacts.pack(folder, ctx.env.work_dir / "adapter.zip")
    ctx.stage(Stage.UPLOADING, f"{archive.stat().st_size / 1e6:.1f} MB")
    artifact_id = artifacts.upload(ctx.client, "adapter", archive, step, lambda: ctx.stop.is_set, ctx.say)
    extra: dict[str, Any] = {"artifact_id": artifact_id, "step": step}
    if ctx.spec.push_to_hub:
        extra |= push(ctx, folder)
    return extra


def push(ctx: Context, folder: Path) -> dict[str, Any]:
    """Publish the adapter on the Hugging Face Hub as a private repository. That it fails is said, and ends nothing."""
    hub = importlib.import_module("huggingface_hub")
    name = str(ctx.spec.push_to_hub)
    ctx.stage(Stage.UPLOADING, f"Hugging Face Hub: {name}")
    try:
        api = hub.HfApi()
        api.create_repo(name, private=True, exist_ok=True)
        commit = api.upload_folder(repo_id=name, folder_path=folder, ignore_patterns=sorted(artifacts.NEVER_UPLOADED))
    except Exception as error:  # noqa: BLE001 - the hub's client raises many kinds, and none may fail the run
        ctx.say(f"The adapter was not pushed to {name}: {error}")
        return {"hub_error": str(error)[:300]}
    return {"hub_url": str(commit.commit_url)}


def _fetch(ctx: Context, what: str, choose: Callable[[RunSpec], DataLink | ResumePoint | None], target: Path) -> Path:
    """Fetch by the link in the spec; a new spec, with a new link, is asked for when that one is not accepted."""
    first = [ctx.spec]

    def link() -> tuple[str, str]:
        spec = first.pop() if first else ctx.fresh_spec() if ctx.fresh_spec else ctx.spec
        chosen = choose(spec)
        if chosen is None:
            raise RunError(f"The run spec holds no link to {what} any more.")
        url = ctx.client.absolute(chosen.url) if ctx.client else chosen.url
        return url, chosen.sha256

    try:
        return links.fetch(what, link, target, lambda: ctx.stop.is_set, ctx.say)
    except StopRequested:
        ctx.stop.check()
        raise


def _has_step(folder: Path, step: int) -> bool:
    """Whether this machine already has a checkpoint that is at least as new: a restart of the same attempt."""
    newest = artifacts.newest(artifacts.complete_checkpoints(folder))
    return newest is not None and int(newest.name.rpartition("-")[2]) >= step
