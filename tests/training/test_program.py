"""The whole program as it runs on a machine: a process of its own, real libraries, a real server on localhost."""

from __future__ import annotations

import io
import json
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.wire_server import TOKEN, WireServer
from tests.training import tiny
from tests.training.conftest import MODEL, Program, Start, describe
from training.contract import ExitCode

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def full(launch: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WireServer, Program]]:
    """A run from beginning to end, with a server that misbehaves in every way that must not matter."""
    with WireServer(tmp_path_factory.mktemp("full")) as wire:
        describe(wire)
        wire.faults.cut_after_storing = 1
        wire.faults.refuse_uploads = 1

        def misbehave(event: dict[str, Any]) -> None:
            if event["kind"] == "plan":
                wire.faults.down = True

        wire.on_event = misbehave
        program = launch(wire, HF_TOKEN="hf_secret_of_the_tests")
        wire.wait_for(lambda: wire.faults.down, 200)
        seen = len(wire.requests)
        wire.wait_for(lambda: len(wire.requests) >= seen + 3, 60)
        wire.on_event = lambda event: None
        wire.faults.down = False
        assert program.wait() == ExitCode.COMPLETED, program.output
        yield wire, program


def test_run_completes_and_nothing_is_missing(full: tuple[WireServer, Program]) -> None:
    wire, _ = full
    assert wire.finish is not None
    assert wire.finish["outcome"] == "completed"
    assert sorted(wire.events) == list(range(1, wire.finish["last_n"] + 1))
    assert [step for step, _ in wire.metrics()] == list(range(1, 13))
    assert max(wire.sent.values()) > 1  # the server saw some twice, told apart by their number


def test_loss_falls(full: tuple[WireServer, Program]) -> None:
    losses = [loss for _, loss in full[0].metrics()]
    assert losses[-1] < losses[0] - 0.3
    evaluated = full[0].metrics("eval_loss")
    assert [step for step, _ in evaluated] == [6, 12]
    assert evaluated[1][1] < evaluated[0][1]


def test_plan_comes_before_the_first_metric(full: tuple[WireServer, Program]) -> None:
    wire, _ = full
    (plan,) = wire.of_kind("plan")
    assert (plan["total_steps"], plan["train_rows"], plan["eval_rows"]) == (12, 45, 2)
    assert plan["trainable_parameters"] < plan["total_parameters"]
    assert plan["total_epochs"] == 3.0
    kinds = [wire.events[n]["kind"] for n in sorted(wire.events)]
    assert kinds.index("plan") < kinds.index("metric")
    stages = [data["stage"] for data in wire.of_kind("stage")]
    assert stages[:2] == ["preparing", "preparing"]
    wanted = ["answering_before", "training", "evaluating", "training", "saving", "answering_after", "uploading"]
    position = -1
    for stage in wanted:
        position = stages.index(stage, position + 1)


def test_every_promised_metric_is_sent(full: tuple[WireServer, Program]) -> None:
    (last,) = [data for data in full[0].of_kind("metric") if data["step"] == 12 and "loss" in data]
    assert set(last) >= {
        "step", "epoch", "loss", "learning_rate", "grad_norm", "mean_token_accuracy", "num_tokens", "progress",
        "samples_per_second", "tokens_per_second", "elapsed_seconds", "remaining_seconds",
    }  # fmt: skip
    assert last["progress"] == 100.0
    assert last["remaining_seconds"] == 0.0


def test_adapter_is_stored_and_checked(full: tuple[WireServer, Program]) -> None:
    wire, _ = full
    (stored,) = wire.stored("adapter")
    assert wire.finish is not None
    assert wire.finish["extra"] == {"artifact_id": stored["id"], "step": 12}
    archive = zipfile.ZipFile(io.BytesIO(stored["path"].read_bytes()))
    assert archive.testzip() is None
    names = set(archive.namelist())
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= names
    assert "training_args.bin" not in names
    config = json.loads(archive.read("adapter_config.json"))
    assert (config["base_model_name_or_path"], config["r"]) == (MODEL, 4)
    assert [a["step"] for a in wire.stored("checkpoint")][-1] == 12


def test_held_out_prompts_are_answered_before_and_after(full: tuple[WireServer, Program]) -> None:
    latest = {data["index"]: data for data in full[0].of_kind("sample")}
    assert sorted(latest) == [0, 1, 2]
    for sample in latest.values():
        assert sample["prompt"][-1]["role"] == "user"
        assert json.loads(sample["expected"])["name"] == "paint"
        assert None not in (sample["before"], sample["after"], sample["valid_before"], sample["valid_after"])
        assert sample["before"] != sample["after"]


def test_no_secret_is_printed_reported_or_stored(full: tuple[WireServer, Program]) -> None:
    wire, program = full
    written = program.output + json.dumps(list(wire.events.values())) + json.dumps(wire.finish)
    for path in (wire.root / "work").rglob("*.json*"):
        written += path.read_text("utf-8", "replace")
    for secret in (TOKEN, "hf_secret_of_the_tests", "abc123secret"):
        assert secret not in written
    assert any(data["stream"] in ("stdout", "stderr") for data in wire.of_kind("log"))


@pytest.mark.timeout(600)
def test_stopped_resumed_and_preempted_run_equals_the_uninterrupted_one(
    full: tuple[WireServer, Program], launch: Start, tmp_path: Path
) -> None:
    with WireServer(tmp_path) as wire:
        describe(wire)
        wire.faults.stop_after_step = 2
        program = launch(wire, work="first")
        assert program.wait() == ExitCode.STOPPED, program.output
        assert wire.finish is not None
        assert (wire.finish["outcome"], wire.finish["reason"]) == ("stopped", "cancelled_by_user")
        stopped_at = wire.stored("checkpoint")[-1]["step"]
        assert 2 <= stopped_at < 12
        losses = dict(wire.metrics())
        checkpoint = wire.stored("checkpoint")[-1]["path"].read_bytes()

    (tmp_path / "resumed").mkdir()
    with WireServer(tmp_path / "resumed") as wire:
        link = wire.add_file("checkpoint.zip", checkpoint)
        resume = {"url": link["url"], "sha256": link["sha256"], "step": stopped_at}
        describe(wire, resume=resume, attempt=2)
        program = launch(wire, work="second")
        wire.wait_for(lambda: bool(wire.metrics()), 240)
        program.process.send_signal(signal.SIGTERM)
        code = program.wait()
        resumed = wire.metrics()
        assert resumed[0][0] == stopped_at + 1
        if code != ExitCode.COMPLETED:  # the signal came before the last step, as it nearly always does
            assert code == ExitCode.STOPPED, program.output
            assert wire.finish is not None
            assert (wire.finish["outcome"], wire.finish["reason"]) == ("stopped", "preempted")
            last_n, wire.finish = wire.finish["last_n"], None
            (wire.root / "second" / "finish-a2.json").unlink()
            assert launch(wire, work="second").wait() == ExitCode.COMPLETED
            assert wire.finish is not None
            assert wire.finish["last_n"] > last_n
        assert sorted(wire.events) == list(range(1, wire.finish["last_n"] + 1)) if wire.finish else False
        losses |= dict(wire.metrics())

    assert losses == dict(full[0].metrics())


def test_quantized_run_of_another_format(launch: Start, wire: WireServer) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    rows = [json.loads(line)["messages"] for line in tiny.jsonl(24).splitlines()]
    share = [{"conversations": [{"from": names[t["role"]], "value": t["content"]} for t in row]} for row in rows]
    values = {
        "quantization": "4bit",
        "assistant_only_loss": True,
        "packing": True,
        "max_steps": 3,
        "per_device_train_batch_size": 1,
        "save_steps": 0,
        "held_out_samples": 1,
        "validation_split": 0.0,
    }
    describe(wire, "".join(json.dumps(row) + "\n" for row in share).encode(), "conversations", values=values)
    program = launch(wire)
    assert program.wait() == ExitCode.COMPLETED, program.output
    assert [step for step, _ in wire.metrics()] == [1, 2, 3]
    assert len(wire.stored("adapter")) == 1
    assert wire.stored("checkpoint") == []


@pytest.mark.timeout(600)
def test_two_processes_stop_together_with_a_checkpoint(launch: Start, wire: WireServer) -> None:
    describe(wire, values={"max_steps": 5000, "held_out_samples": 0, "per_device_train_batch_size": 1})
    wire.faults.stop_after_step = 2
    program = launch(wire, STOKER_PROCESSES="2")
    assert program.wait(300) == ExitCode.STOPPED, program.output
    assert wire.finish is not None
    assert wire.finish["outcome"] == "stopped"
    assert wire.stored("checkpoint")
    assert len(wire.of_kind("plan")) == 1  # one of the two speaks
    assert [step for step, _ in wire.metrics()] == list(range(1, wire.metrics()[-1][0] + 1))


def test_missing_deepspeed_is_said_before_anything_is_loaded(launch: Start, wire: WireServer) -> None:
    """The launcher is left out: a first process that is told of a second one decides alone, before it waits for it."""
    describe(wire, values={"parallelism": "zero3"})
    program = launch(wire, RANK="0", WORLD_SIZE="2")
    assert program.wait() == ExitCode.TRAINING_ERROR, program.output
    assert wire.finish is not None
    assert (wire.finish["outcome"], wire.finish["reason"]) == ("failed", "training_error")
    assert "pip install deepspeed==" in wire.finish["message"]
    assert [data["stage"] for data in wire.of_kind("stage")] == []


@pytest.mark.timeout(600)
def test_model_shared_out_with_fsdp_is_stopped_resumed_and_whole_at_the_end(launch: Start, wire: WireServer) -> None:
    values = {
        "parallelism": "fsdp",
        "activation_checkpointing": "true",
        "max_steps": 4,
        "save_steps": 0,
        "eval_steps": 0,
        "per_device_train_batch_size": 1,
        "held_out_samples": 2,
        "sample_max_new_tokens": 4,
    }
    describe(wire, values=values)
    wire.faults.stop_after_step = 1
    assert (program := launch(wire, STOKER_PROCESSES="2")).wait() == ExitCode.STOPPED, program.output
    stored = wire.stored("checkpoint")[-1]
    losses = dict(wire.metrics())
    assert sorted(losses) == list(range(1, stored["step"] + 1))
    unanswered = wire.of_kind("sample")
    assert [(data["index"], data["before"]) for data in unanswered] == [(0, None), (1, None)]

    (wire.root / "resumed").mkdir()
    with WireServer(wire.root / "resumed") as again:
        link = again.add_file("checkpoint.zip", stored["path"].read_bytes())
        resume = {"url": link["url"], "sha256": link["sha256"], "step": stored["step"]}
        describe(again, values=values, resume=resume, attempt=2)
        assert (program := launch(again, STOKER_PROCESSES="2")).wait() == ExitCode.COMPLETED, program.output
        losses |= dict(again.metrics())
        assert sorted(losses) == [1, 2, 3, 4]
        assert losses[4] < losses[1]
        assert again.metrics("eval_loss")[-1][0] == 4
        for sample in list({data["index"]: data for data in again.of_kind("sample")}.values()):
            assert None not in (sample["before"], sample["after"])
            assert sample["before"] != sample["after"]
        (adapter,) = again.stored("adapter")
        archive = zipfile.ZipFile(io.BytesIO(adapter["path"].read_bytes()))
        weights = archive.read("adapter_model.safetensors")
        header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
        shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
        assert len(shapes) == 2 * 7 * 2  # two layers, seven linear parts, A and B
        assert [4, 64] in shapes.values()  # the rank and the whole width of the model, not a half of it


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_other_families_of_models_are_trained(launch: Start, wire: WireServer, family: str) -> None:
    values = {"max_steps": 8, "learning_rate": 1e-1, "gradient_accumulation_steps": 1, "held_out_samples": 1}
    describe(wire, values=values, base_model=f"tests/tiny-{family}")
    program = launch(wire)
    assert program.wait() == ExitCode.COMPLETED, program.output
    losses = [loss for _, loss in wire.metrics()]
    assert len(losses) == 8
    assert min(losses[1:]) < losses[0]
    assert wire.metrics("eval_loss")[-1][0] == 8
    assert wire.metrics("tokens_per_second")
    assert len(wire.stored("adapter")) == 1
    answered = [data for data in wire.of_kind("sample") if data["after"] is not None]
    assert len(answered) == (1 if family == "t5" else 0)  # an encoder fills in words and answers nothing


def test_bad_row_ends_the_run_as_invalid_data(launch: Start, wire: WireServer) -> None:
    describe(wire, tiny.jsonl(3) + b'{"messages": []}\n')
    assert launch(wire).wait() == ExitCode.INVALID_DATA
    assert wire.finish is not None
    assert (wire.finish["outcome"], wire.finish["reason"]) == ("failed", "invalid_data")
    assert wire.finish["message"].startswith("Line 4 of the dataset:")
    assert "InvalidDataError" in wire.finish["stack"]


def test_unknown_hyperparameter_is_named(launch: Start, wire: WireServer) -> None:
    describe(wire, values={"learning_rat": 1})
    assert launch(wire).wait() == ExitCode.TRAINING_ERROR
    assert wire.finish is not None
    assert "Did you mean learning_rate?" in wire.finish["message"]


def test_deadline_ends_the_run(launch: Start, wire: WireServer) -> None:
    describe(wire, limits={"max_seconds": 2})
    wire.files.clear()  # the dataset is asked for in vain until the deadline
    assert launch(wire).wait() == ExitCode.DEADLINE_EXCEEDED
    assert wire.finish is not None
    assert (wire.finish["outcome"], wire.finish["reason"]) == ("failed", "deadline_exceeded")


def test_silent_server_ends_the_run(launch: Start, wire: WireServer) -> None:
    describe(wire, limits={"silence_seconds": 2})
    wire.files.clear()
    wire.on_event = lambda event: setattr(wire.faults, "down", True)
    assert launch(wire).wait() == ExitCode.SERVER_SILENT
    assert wire.finish is None


def test_attempt_that_is_over_ends_quietly(launch: Start, wire: WireServer) -> None:
    describe(wire)
    wire.files.clear()
    wire.faults.over = 410
    assert launch(wire).wait() == ExitCode.REFUSED
    assert wire.finish is None


def test_last_word_that_was_lost_is_said_again(launch: Start, wire: WireServer) -> None:
    describe(wire)
    work = wire.root / "work"
    work.mkdir()
    finish = {"outcome": "failed", "last_n": 0, "reason": "training_error", "message": "m", "stack": "", "extra": {}}
    (work / "finish-a1.json").write_text(json.dumps(finish))
    assert launch(wire).wait() == ExitCode.TRAINING_ERROR
    assert wire.finish == finish


def test_environment_that_is_not_complete_is_refused(launch: Start, wire: WireServer) -> None:
    program = launch(wire, METRICS_API_URL="")
    assert program.wait() == ExitCode.BAD_ENVIRONMENT
    assert "METRICS_API_URL is not set" in program.output


def test_work_folder_of_another_job_is_refused(launch: Start, wire: WireServer) -> None:
    describe(wire)
    (wire.root / "work").mkdir()
    (wire.root / "work" / "job").write_text("another job")
    program = launch(wire)
    assert program.wait() == ExitCode.BAD_ENVIRONMENT
    assert "another job" in program.output
