"""The parts of the program that decide something, each alone and without the libraries."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until
from training import data, environment, hyperparameters, launch, model, samples
from training.contract import ExitCode, FailureReason, Limits, Outcome
from training.failures import InvalidDataError, RunError, SetupError, explain
from training.output import Capture, LineCutter, join_floods
from training.progress import Pace, plain_numbers
from training.records import RecordFormat
from training.redact import HIDDEN, Redactor
from training.stopping import StopKind, StopRequest, StopSignal
from training.watchdog import Watchdog


def prepare(tmp_path: Path, rows: list[dict[str, Any]], fmt: str = "messages", **values: Any) -> data.Prepared:
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data.prepare(source, RecordFormat(fmt), tmp_path / "out", {**hyperparameters.defaults(), **values})


def chat(number: int, turns: int = 1) -> dict[str, Any]:
    pair = [{"role": "user", "content": f"Question {number}"}, {"role": "assistant", "content": f"Answer {number}"}]
    return {"messages": pair * turns}


def written(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_split_without_overlap_and_always_alike(tmp_path: Path) -> None:
    rows = [chat(n) for n in range(100)]
    first = prepare(tmp_path, rows, validation_split=0.1, held_out_samples=4, seed=3)
    train, validation = written(first.train), written(first.validation)
    assert (first.train_rows, first.validation_rows, len(first.held_out)) == (90, 10, 4)
    asked = [row["completion"][0]["content"] for row in validation]
    assert not set(asked) & {row["completion"][0]["content"] for row in train}
    assert {sample["expected"] for sample in first.held_out} <= set(asked)
    again = prepare(tmp_path, rows, validation_split=0.1, held_out_samples=4, seed=3)
    assert again == first
    assert written(again.train) == train
    other = prepare(tmp_path, rows, validation_split=0.1, held_out_samples=4, seed=4)
    assert other.held_out != first.held_out
    assert data.Prepared.from_json(json.loads(json.dumps(first.to_json()))) == first


def test_held_out_rows_are_not_trained_on_without_a_validation_share(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, [chat(n) for n in range(20)], validation_split=0.0, held_out_samples=8)
    assert prepared.validation is None
    assert (prepared.train_rows, len(prepared.held_out)) == (16, 4)  # at most a fifth of so few rows


def test_only_the_last_answer_is_learnt_unless_all_are_wanted(tmp_path: Path) -> None:
    row = chat(1, turns=2)
    prepared = prepare(tmp_path, [row], held_out_samples=0, validation_split=0.0)
    assert written(prepared.train) == [{"prompt": row["messages"][:3], "completion": row["messages"][3:]}]
    whole = prepare(tmp_path, [row], held_out_samples=0, validation_split=0.0, assistant_only_loss=True)
    assert written(whole.train) == [{"messages": row["messages"]}]


def test_sharegpt_text_and_tools(tmp_path: Path) -> None:
    share = {
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
        "tools": [{"a": 1}],
    }
    prepared = prepare(tmp_path, [share], "conversations", held_out_samples=0, validation_split=0.0)
    (row,) = written(prepared.train)
    assert [turn["role"] for turn in row["prompt"] + row["completion"]] == ["user", "assistant"]
    assert json.loads(row["tools"]) == [{"a": 1}]
    text = prepare(tmp_path, [{"text": "Once"}] * 30, "text", held_out_samples=4, validation_split=0.0)
    assert (text.train_rows, text.held_out, text.chat) == (30, [], False)


def test_bad_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataError, match="Line 2 of the dataset"):
        prepare(tmp_path, [chat(1), {"messages": "not a list"}])
    with pytest.raises(InvalidDataError, match="no rows"):
        prepare(tmp_path, [])


@pytest.mark.parametrize(
    ("answer", "expected", "verdict"),
    [
        ('{"a": 1}', '{"a": 1.0}', (True, True)),
        ('{"a": 2}', '{"a": 1}', (True, False)),
        ('Sure: {"a": 1}', '{"a": 1}', (False, False)),
        ("42", '{"a": 1}', (False, False)),
        (" Paris ", "Paris", (None, True)),
        ("42", "42", (None, True)),
        (None, '{"a": 1}', (None, None)),
    ],
)
def test_answers_are_judged(answer: str | None, expected: str, verdict: tuple[bool | None, bool | None]) -> None:
    assert samples.judge(answer, expected) == verdict


def test_sample_of_a_long_conversation_stays_small() -> None:
    asked = {"prompt": chat(1, turns=50)["messages"], "expected": "y" * 100_000}
    sample = samples.as_sample(0, asked, "x", None)
    assert len(json.dumps(sample.to_json())) < 200_000
    assert (sample.exact_before, sample.after, sample.exact_after) == (False, None, None)


def test_pace_counts_training_time_only() -> None:
    now = [0.0]
    pace = Pace(rows_per_step=8, clock=lambda: now[0])
    pace.begin(0)
    now[0] = 10.0
    first = pace.record(10, 40, num_tokens=1000.0)
    assert (first["progress"], first["remaining_seconds"], first["elapsed_seconds"]) == (25.0, 30.0, 10.0)
    assert (first["samples_per_second"], first["tokens_per_second"]) == (8.0, 100.0)
    pace.pause()
    now[0] = 30.0
    pace.go_on()
    now[0] = 40.0
    second = pace.record(20, 40, num_tokens=3000.0)
    assert (second["samples_per_second"], second["tokens_per_second"]) == (8.0, 200.0)
    assert second["remaining_seconds"] == 40.0


def test_pace_of_a_resumed_run_does_not_count_steps_of_the_earlier_one() -> None:
    now = [100.0]
    pace = Pace(rows_per_step=1, clock=lambda: now[0])
    pace.begin(30)
    now[0] = 110.0
    values = pace.record(31, 40, num_tokens=99_000.0)
    assert (values["samples_per_second"], values["remaining_seconds"]) == (0.1, 90.0)
    assert "tokens_per_second" not in values


def test_only_numbers_are_metrics() -> None:
    values = plain_numbers({"loss": math.nan, "step_time": 1, "name": "x", "flag": True, "list": [1]})
    assert set(values) == {"loss", "step_time"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), FailureReason.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), FailureReason.OUT_OF_MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), FailureReason.OUT_OF_MEMORY),
        (InvalidDataError("Line 3"), FailureReason.INVALID_DATA),
        (ValueError("a wrong value"), FailureReason.TRAINING_ERROR),
        (RunError("No such model."), FailureReason.TRAINING_ERROR),
    ],
)
def test_failures_have_a_reason_a_sentence_and_a_stack(error: Exception, reason: FailureReason) -> None:
    try:
        raise error
    except type(error) as raised:
        found, sentence, stack = explain(raised)
    assert found == reason
    assert sentence
    assert "test_failures_have" in stack


def test_memory_failure_is_found_behind_another_exception() -> None:
    error = ValueError("wrapped")
    error.__cause__ = MemoryError()
    assert explain(error)[0] is FailureReason.OUT_OF_MEMORY


def test_progress_bars_become_their_last_state() -> None:
    now = [0.0]
    cutter = LineCutter(lambda: now[0])
    assert cutter.feed(b"one\ntw") == ["one"]
    assert cutter.feed(b"o\n") == ["two"]
    assert cutter.feed(b"\r 10%|#   |") == []
    assert cutter.feed(b"\r 50%|##  |") == []
    now[0] = 11.0
    assert cutter.feed(b"\r 60%|### |") == [" 60%|### |"]
    assert cutter.feed(b"\r100%|####|\n") == ["100%|####|"]
    assert cutter.feed("ö\n".encode()[:1]) == []
    assert cutter.feed("ö\n".encode()[1:]) == ["ö"]
    assert cutter.rest() == []


def test_floods_become_few_events() -> None:
    assert join_floods(["a", "b"]) == ["a", "b"]
    joined = join_floods([f"line {n}" for n in range(2000)])
    assert len(joined) < 10
    assert "\n".join(joined).count("line") == 2000


def test_output_of_the_process_and_its_children_is_captured(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[tuple[str, str]] = []
    capture = Capture(lambda text, stream: heard.append((stream, text)), Redactor(["a-secret-token"]))
    capture.start()
    os.write(1, b"from C a-secret-token\n")
    print("from Python", file=sys.__stderr__)
    os.system("echo from a child")
    capture.close()
    assert {("stdout", "from C " + HIDDEN), ("stdout", "from a child")} <= set(heard)
    assert "a-secret-token" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("limits", "contact", "kind", "exit_code"),
    [
        (Limits(max_seconds=0), 0.0, StopKind.DEADLINE, ExitCode.DEADLINE_EXCEEDED),
        (Limits(max_seconds=600, silence_seconds=5), -10.0, StopKind.SILENT, ExitCode.SERVER_SILENT),
    ],
)
def test_watchdog_asks_for_a_stop(limits: Limits, contact: float, kind: StopKind, exit_code: ExitCode) -> None:
    stop, now = StopSignal(), time.monotonic()
    watchdog = Watchdog(limits, stop, lambda: now + contact, _unexpected, now)
    watchdog.start()
    until(lambda: stop.request)
    watchdog.close()
    assert stop.request is not None
    assert (stop.request.kind, stop.request.outcome, stop.request.exit_code) == (kind, Outcome.FAILED, exit_code)


def test_watchdog_ends_what_does_not_stop() -> None:
    stop, ended = StopSignal(), list[StopRequest]()
    watchdog = Watchdog(Limits(max_seconds=600), stop, time.monotonic, ended.append, time.monotonic())  # type: ignore[arg-type]
    watchdog.start()
    stop.got_sigterm = True
    until(lambda: stop.request)
    stop.request = StopRequest(StopKind.SIGNAL, "preempted", "told to end", until=time.monotonic())
    until(lambda: ended)
    watchdog.close()
    assert ended[0].exit_code is ExitCode.STOPPED


def test_first_stop_request_counts_until_the_attempt_is_over() -> None:
    stop = StopSignal()
    stop.ask(StopKind.SERVER, "budget_exceeded", "The server asked.", 30)
    stop.ask(StopKind.DEADLINE, "deadline_exceeded", "Too late.", 30)
    assert stop.request is not None
    assert stop.request.kind is StopKind.SERVER
    assert not stop.no_time_left()
    stop.ask(StopKind.REFUSED, "refused", "Over.", 30)
    assert stop.is_refused
    assert stop.no_time_left()


@pytest.mark.parametrize("name", ["../../etc", "org/../name", "/abs/path", "org/name/more", "", "org name"])
def test_model_names_cannot_leave_the_models_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a model name"):
        model.locate(name, tmp_path)


def test_model_of_the_models_folder_is_preferred(tmp_path: Path) -> None:
    assert model.locate("org/name", tmp_path) == ("org/name", False)
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "config.json").write_text("{}")
    assert model.locate("org/name", tmp_path) == (str(tmp_path / "org" / "name"), True)


def test_environment_is_read_and_the_token_taken_out(tmp_path: Path) -> None:
    env = {
        "JOB_ID": "j",
        "JOB_TOKEN": "t" * 20,
        "METRICS_API_URL": "http://server/api/",
        "STOKER_WORK_DIR": str(tmp_path),
    }
    read = environment.read(env)
    assert (read.api_url, read.leads, read.models_dir) == ("http://server/api", True, None)
    environment.hide_token(env)
    assert "JOB_TOKEN" not in env
    with pytest.raises(SetupError, match="JOB_TOKEN is not set"):
        environment.read(env)
    with pytest.raises(SetupError, match="http"):
        environment.read({**env, "JOB_TOKEN": "t", "METRICS_API_URL": "ftp://server"})


def test_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOKER_PROCESSES", "3")
    assert launch.processes() == 3
    monkeypatch.setenv("STOKER_PROCESSES", "many")
    with pytest.raises(SetupError, match="STOKER_PROCESSES"):
        launch.processes()


def _unexpected(request: StopRequest) -> Any:
    raise AssertionError("ended hard")


def test_a_limit_that_is_raised_meanwhile_moves_the_deadline(tmp_path: Path) -> None:
    stop, told, file = StopSignal(), list[float](), tmp_path / "until"
    watchdog = Watchdog(
        Limits(max_seconds=600), stop, time.monotonic, _unexpected, time.monotonic(),
        told=lambda: told[-1] if told else None, until_file=file,
    )  # fmt: skip
    watchdog.start()
    told.append(time.monotonic() + 5000)
    until(file.exists)
    assert 4990 <= int(file.read_text()) - time.time() <= 5000
    assert stop.request is None
    told.append(time.monotonic() - 6)
    until(lambda: stop.request)
    watchdog.close()
    assert stop.request is not None
    assert stop.request.kind is StopKind.DEADLINE
