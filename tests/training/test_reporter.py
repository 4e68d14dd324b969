from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.wire_server import JOB_ID, TOKEN, WireServer
from tests.waiting import until
from training import reporter as reporters
from training.client import Client, Kind
from training.contract import EventKind, Finish, Outcome
from training.redact import Redactor
from training.reporter import Reporter
from training.spool import Spool
from training.stopping import StopKind, StopSignal

Make = Callable[..., Reporter]


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal()


@pytest.fixture
def make(wire: WireServer, tmp_path: Path, stop: StopSignal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make a reporter on the spool of this test; waits between tries are short."""
    monkeypatch.setattr(reporters, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(reporters, "CLOSING_WAIT", 0.1)
    made: list[Reporter] = []

    def start(token: str = TOKEN, heartbeat: float = 60.0) -> Reporter:
        client = Client(wire.api_url, JOB_ID, token, timeout=5.0)
        reporter = Reporter(client, tmp_path / "spool.jsonl", stop, Redactor([TOKEN]), heartbeat)
        reporter.start()
        made.append(reporter)
        return reporter

    yield start
    for reporter in made:
        reporter.abandon()


def numbers(wire: WireServer) -> list[int]:
    return sorted(wire.events)


def test_events_arrive_once_in_order_without_holes(wire: WireServer, make: Make) -> None:
    reporter = make()
    for step in range(1, 1301):  # more than two batches
        reporter.metric(step, {"loss": 1.0 / step})
    assert reporter.close(20)
    assert numbers(wire) == list(range(1, 1301))
    assert [step for step, _ in wire.metrics()] == list(range(1, 1301))
    assert set(wire.sent.values()) == {1}
    assert wire.requests.count(f"POST /api/training/jobs/{JOB_ID}/events") < 200


def test_nothing_is_lost_or_doubled_while_the_server_is_away(wire: WireServer, make: Make) -> None:
    reporter = make()
    wire.faults.down = True
    for step in range(1, 51):
        reporter.metric(step, {"loss": 1.0})
    wire.wait_for(lambda: len(wire.requests) >= 2, 10)
    assert not wire.events
    wire.faults.down, wire.faults.unavailable = False, True
    seen = len(wire.requests)
    wire.wait_for(lambda: len(wire.requests) >= seen + 2, 10)
    wire.faults.unavailable = False
    wire.faults.cut_after_storing = 2  # stored, but the answer is lost: the batch is sent again
    assert reporter.close(20)
    assert numbers(wire) == list(range(1, 51))
    assert max(wire.sent.values()) == 3
    assert reporter.finish(Finish(Outcome.STOPPED, reporter.last_n), 10).kind is Kind.OK


def test_a_program_that_is_told_to_slow_down_keeps_what_it_has_and_goes_on(
    wire: WireServer, make: Make, stop: StopSignal
) -> None:
    reporter = make()
    wire.faults.flooded = 3
    for step in range(1, 1301):
        reporter.metric(step, {"loss": 1.0})
    assert reporter.close(20)
    assert wire.faults.flooded == 0
    assert numbers(wire) == list(range(1, 1301))
    assert set(wire.sent.values()) == {1}
    assert not stop.is_set


def test_nan_and_infinity_reach_the_wire(wire: WireServer, make: Make) -> None:
    reporter = make()
    reporter.metric(1, {"loss": math.nan, "grad_norm": math.inf})
    assert reporter.close(10)
    (data,) = wire.of_kind("metric")
    assert math.isnan(data["loss"])
    assert data["grad_norm"] == math.inf


def test_restarted_process_goes_on_with_the_spool(wire: WireServer, make: Make, tmp_path: Path) -> None:
    wire.faults.down = True
    first = make()
    for step in (1, 2, 3):
        first.metric(step, {"loss": 1.0})
    first.abandon()
    with (tmp_path / "spool.jsonl").open("ab") as spool:
        spool.write(b'{"n": 4, "t": 1, "kind": "met')  # the process died in the middle of a line
    wire.faults.down = False
    second = make()
    second.metric(4, {"loss": 0.5})
    assert second.close(10)
    assert wire.metrics() == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 0.5)]
    assert numbers(wire) == [1, 2, 3, 4]


def test_server_that_lost_events_gets_them_again(wire: WireServer, make: Make) -> None:
    reporter = make()
    for step in range(1, 11):
        reporter.metric(step, {"loss": 1.0})
    assert reporter.close(10)
    with wire.lock:  # a server restored from an older backup
        for n in range(4, 11):
            del wire.events[n]
    assert reporter.finish(Finish(Outcome.STOPPED, reporter.last_n), 10).kind is Kind.OK
    assert numbers(wire) == list(range(1, 11))


def test_stop_request_is_passed_on(wire: WireServer, make: Make, stop: StopSignal) -> None:
    wire.faults.stop_after_step = 2
    wire.faults.stop = {"reason": "budget_exceeded", "grace_seconds": 30}
    reporter = make()
    reporter.metric(1, {"loss": 1.0})
    assert reporter.close(10)
    assert not stop.is_set
    reporter.metric(2, {"loss": 1.0})
    until(lambda: stop.is_set)
    assert stop.request is not None
    assert (stop.request.kind, stop.request.reason) == (StopKind.SERVER, "budget_exceeded")


@pytest.mark.parametrize("status", [401, 404, 410])
def test_attempt_that_is_over_is_not_reported_to(wire: WireServer, make: Make, stop: StopSignal, status: int) -> None:
    wire.faults.over = status
    reporter = make()
    reporter.metric(1, {"loss": 1.0})
    until(lambda: stop.is_refused)
    assert not reporter.close(10)
    assert len(wire.requests) == 1


def test_wrong_token_ends_the_attempt(wire: WireServer, make: Make, stop: StopSignal) -> None:
    make(token="another-token").metric(1, {"loss": 1.0})
    until(lambda: stop.is_refused)


def test_event_that_the_server_refuses_does_not_hold_up_the_others(wire: WireServer, make: Make) -> None:
    wire.faults.refuse_event_text = "poison"
    reporter = make()
    for step in range(1, 9):
        reporter.metric(step, {"loss": 1.0})
    reporter.text("poison")
    reporter.metric(9, {"loss": 0.5})
    assert reporter.close(30)
    assert wire.metrics()[-1] == (9, 0.5)
    assert len(wire.events) == 10
    assert "left out" in wire.of_kind("log")[0]["text"]


def test_event_that_is_too_large_is_left_out(wire: WireServer, make: Make) -> None:
    reporter = make()
    reporter.log(EventKind.SAMPLE, {"prompt": "x" * 1_000_000})
    assert reporter.close(10)
    assert "too large" in wire.of_kind("log")[0]["text"]


def test_heartbeats_come_while_the_training_is_silent(wire: WireServer, make: Make) -> None:
    make(heartbeat=0.1)
    wire.wait_for(lambda: len(wire.of_kind("heartbeat")) >= 3, 10)


def test_secrets_are_hidden(wire: WireServer, make: Make) -> None:
    reporter = make()
    reporter.text(f"token {TOKEN} at https://store/x?X-Amz-Signature=abcdef&a=1 with Authorization: Bearer abcdef123")
    assert reporter.close(10)
    text = wire.of_kind("log")[0]["text"]
    assert TOKEN not in text
    assert "abcdef" not in text
    assert "a=1" in text


def test_spool_keeps_lines_that_the_disk_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool.jsonl")
    spool.append(b'{"n": 1}')
    with monkeypatch.context() as patch:
        patch.setattr("training.spool.os.pwrite", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left")))
        spool.append(b'{"n": 2}')
    spool.append(b'{"n": 3}')
    assert [json.loads(line)["n"] for line in spool.read(1, 10, 10_000)] == [1, 2, 3]
    assert len(spool.read(1, 10, 9)) == 1
    assert len(spool.read(1, 2, 10_000)) == 2
    spool.close()


def test_logging_does_not_wait_for_the_server(wire: WireServer, make: Make, tmp_path: Path) -> None:
    reporter = make()
    with wire.lock:  # the server accepts connections and does not answer
        for step in range(1, 501):
            reporter.metric(step, {"loss": 1.0})
        assert reporter.last_n == 500
        assert len((tmp_path / "spool.jsonl").read_bytes().splitlines()) == 500
        assert not wire.events
    assert reporter.close(20)
    assert len(wire.events) == 500
