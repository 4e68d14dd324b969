"""The life of a training process around the training: spec, reporter, watchdog, output, and the last word."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from training import environment, hyperparameters, model, parallel, run
from training.client import Client, Kind, backoff, pause
from training.contract import UNTIL_FILE, ExitCode, FailureReason, Finish, Outcome, RunSpec, Stage
from training.environment import ENV_LAUNCH, Environment
from training.failures import EXIT_CODES, RunError, SetupError, StopRequested, explain
from training.gpu import Gauges
from training.output import Capture
from training.ranks import Launch
from training.redact import Redactor
from training.reporter import Reporter
from training.stopping import StopKind, StopRequest, StopSignal
from training.watchdog import Watchdog, catch_sigterm

SPEC_SECONDS = 1200.0  # how long the server may be away before the program has a spec that says it
SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN", "WANDB_API_KEY")


class AttemptOverError(Exception):
    """The server said that this attempt is over before it began."""


def lead(env: Environment) -> int:
    """The first process of a run: it alone talks to the server."""
    started = time.monotonic()
    stop = StopSignal()
    catch_sigterm(stop)
    launch = Launch(env.work_dir, os.environ.get(ENV_LAUNCH, ""))
    launch.pid_file.write_text(str(os.getpid()), "utf-8")
    redact = Redactor([env.token, *(os.environ.get(name, "") for name in SECRET_VARIABLES)])
    client = Client(env.api_url, env.job_id, env.token)
    try:
        spec = fetch_spec(client, stop, SPEC_SECONDS)
    except (AttemptOverError, StopRequested) as error:
        print(f"stoker training: {error}", file=sys.stderr, flush=True)
        code = ExitCode.REFUSED if isinstance(error, AttemptOverError) else ExitCode.STOPPED
        launch.write(launch.outcome_file, {"exit_code": code})
        return code
    claim(env.work_dir, spec)
    leader = Leader(env, spec, client, stop, redact, launch, started)
    outcome = leader.run()
    launch.write(launch.outcome_file, {"exit_code": outcome})
    return outcome


def follow(env: Environment) -> int:
    """Another process of a run with several GPUs: it trains along and says nothing, except why it failed."""
    stop = StopSignal()
    catch_sigterm(stop)
    launch = Launch(env.work_dir, os.environ.get(ENV_LAUNCH, ""))
    launch.follow(lambda: os._exit(ExitCode.COMPLETED))
    spec, values, data, source = launch.wait_until_ready()
    environment.prepare_libraries(env.work_dir, offline=Path(source).is_dir())
    try:
        run.train(run.Context(env, spec, values, stop, Gauges(), source), data)
    except StopRequested:
        return ExitCode.COMPLETED
    except BaseException as error:
        reason, message, stack = explain(error)
        launch.say_failed(env.rank, reason, message, stack)
        raise
    return ExitCode.COMPLETED


def fetch_spec(client: Client, stop: StopSignal, seconds: float) -> RunSpec:
    """Ask until the server answers. Raise AttemptOverError when it is over, SetupError for an unusable spec."""
    end, waits = time.monotonic() + seconds, backoff()
    while True:
        answer = client.get("spec")
        if answer.kind is Kind.OK:
            try:
                return RunSpec.from_json(answer.body)
            except ValueError as error:
                raise SetupError(str(error)) from error
        if answer.kind is Kind.OVER:
            raise AttemptOverError(f"The server will not have this attempt: {answer.said}.")
        if answer.kind is Kind.REFUSED:
            raise SetupError(f"The server did not give the run spec: {answer.said}.")
        if time.monotonic() >= end:
            raise SetupError(f"The server did not give the run spec for {seconds:.0f} seconds: {answer.said}.")
        if stop.is_set:
            raise StopRequested("Told to end before the run began.")
        pause(answer.retry_after if answer.retry_after is not None else next(waits), lambda: stop.is_set)


def claim(work_dir: Path, spec: RunSpec) -> None:
    """A work folder belongs to one job: the checkpoints in it must not be taken up by another."""
    owner = work_dir / "job"
    if owner.is_file() and (found := owner.read_text("utf-8").strip()) != spec.job_id:
        raise SetupError(f"{work_dir} holds the work of another job ({found}). Give each job its own folder.")
    owner.write_text(spec.job_id, "utf-8")


class Leader:
    def __init__(
        self,
        env: Environment,
        spec: RunSpec,
        client: Client,
        stop: StopSignal,
        redact: Redactor,
        launch: Launch,
        started: float,
    ) -> None:
        self.env = env
        self.spec = spec
        self.client = client
        self.stop = stop
        self.redact = redact
        self.launch = launch
        self.gauges = Gauges()
        spool = env.work_dir / f"spool-a{spec.attempt}.jsonl"
        self.reporter = Reporter(client, spool, stop, redact, spec.limits.heartbeat_seconds, self.gauges)
        self.capture = Capture(self.reporter.text, redact)
        self.finish_file = env.work_dir / f"finish-a{spec.attempt}.json"
        self.watchdog = Watchdog(
            spec.limits,
            stop,
            lambda: self.reporter.last_contact,
            self.end_hard,
            started,
            peer_failed=lambda: self.launch.failure_of_another() is not None,
            told=lambda: self.reporter.deadline,
            until_file=env.work_dir / UNTIL_FILE,
        )

    def run(self) -> int:
        self.reporter.start()
        if self.finish_file.is_file():  # An earlier process of this attempt was done and only its last word got lost.
            return self.deliver(Finish(**json.loads(self.finish_file.read_text("utf-8"))), 600.0)
        self.capture.start()
        self.watchdog.start(self.capture.real_fd(2))
        try:
            finish = Finish(Outcome.COMPLETED, 0, extra=self.train())
            wait = float(max(self.spec.limits.silence_seconds, 60))
        except StopRequested:
            finish, wait = self.stopped()
        except BaseException as error:  # noqa: BLE001 - whatever ended the run is reported, KeyboardInterrupt too
            finish, wait = self.failed(error)
        self.watchdog.close()
        self.capture.close()
        return self.deliver(finish, wait)

    def train(self) -> dict[str, Any]:
        values, problems = hyperparameters.validate(self.spec.hyperparameters)
        if problems:
            raise RunError(" ".join(sentence for _, sentence in problems))
        parallel.require(parallel.chosen(values["parallelism"], self.env.world_size))
        # What concerns those who write the libraries, not those who train with them.
        warnings.simplefilter("ignore", FutureWarning)
        source, is_local = model.locate(self.spec.base_model, self.env.models_dir)
        environment.prepare_libraries(self.env.work_dir, offline=is_local)
        ctx = run.Context(
            env=self.env,
            spec=self.spec,
            values=values,
            stop=self.stop,
            gauges=self.gauges,
            model_source=source,
            client=self.client,
            reporter=self.reporter,
            fresh_spec=lambda: fetch_spec(self.client, self.stop, 60.0),
        )
        data = run.fetch_data(ctx)
        self.stop.check()
        if self.env.world_size > 1:
            self.launch.say_ready(self.spec, values, data, source)
        return run.train(ctx, data)

    def stopped(self) -> tuple[Finish, float]:
        """The last word after a stop request, and how long to try to say it."""
        request = self.stop.request
        assert request is not None
        self.capture.say(f"stoker training: {request.message}")
        self.reporter.text(request.message)
        wait = 5.0 if request.kind is StopKind.SILENT else max(5.0, request.until - time.monotonic())
        return Finish(request.outcome, 0, request.reason, request.message), wait

    def failed(self, error: BaseException) -> tuple[Finish, float]:
        reason, message, stack = explain(error)
        peer = self.launch.failure_of_another()
        if peer:  # Another process failed first; that ours lost its connection to it explains nothing.
            reason, message, stack = peer[0].reason, str(peer[0]), peer[1]
        self.capture.say(f"stoker training: {message}\n{stack}")
        finish = Finish(Outcome.FAILED, 0, reason, self.redact(message), self.redact(stack))
        return finish, float(max(self.spec.limits.silence_seconds, 60))

    def deliver(self, finish: Finish, wait: float) -> int:
        """Say the last word. It is written down first: should this process die now, the next one says it again."""
        code = self.exit_code(finish)
        if self.stop.is_refused:
            return code
        document = {**asdict(finish), "last_n": self.reporter.last_n}
        part = self.finish_file.with_suffix(".part")
        part.write_text(json.dumps(document), "utf-8")
        os.replace(part, self.finish_file)
        answer = self.reporter.finish(Finish(**document), wait)
        if answer.kind is not Kind.OK:
            self.capture.say(f"stoker training: the server did not take the last word: {answer.said}")
        return code

    def exit_code(self, finish: Finish) -> int:
        if self.stop.is_refused:
            return ExitCode.REFUSED
        if finish.outcome == Outcome.COMPLETED:
            return ExitCode.COMPLETED
        if finish.outcome == Outcome.STOPPED:
            return ExitCode.STOPPED
        return EXIT_CODES[FailureReason(finish.reason)]

    def end_hard(self, request: StopRequest) -> NoReturn:
        """Called by the watchdog when the training did not stop by itself. The process ends here."""
        peer = self.launch.failure_of_another()
        if peer:
            finish = Finish(Outcome.FAILED, 0, peer[0].reason, str(peer[0]), peer[1])
        else:
            text = f"{request.message} The training did not stop in time and was ended without a new checkpoint."
            finish = Finish(request.outcome, 0, request.reason, text)
        self.reporter.stage(Stage.STOPPING, "Ended hard")
        code = self.deliver(finish, 5.0)
        self.launch.write(self.launch.outcome_file, {"exit_code": code})
        os._exit(code)
