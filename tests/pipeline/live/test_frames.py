from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from pipeline import ingest, transitions
from pipeline.live import frames
from pipeline.live.frames import job_frame, job_frames
from pipeline.models import EventType, Job, LogLine, Sample
from tests.factories import make_running_job, make_user
from tests.pipeline.live.page import View

pytestmark = pytest.mark.django_db


def log_lines(first: int, last: int, text: str = "line") -> list[dict[str, Any]]:
    return [
        {"n": n, "t": 1_700_000_000, "kind": "log", "data": {"stream": "stdout", "text": f"{text} {n}"}}
        for n in range(first, last + 1)
    ]


def read_all(job: Job, view: View, limit: int = frames.MAX_POINTS) -> int:
    """Ask until there is no more; returns how many frames that took."""
    count = 0
    while True:
        frame = job_frame(job.pk, view.seq, limit)
        assert frame is not None
        count += 1
        view.take(frame.body)
        if not frame.more:
            return count


def test_a_frame_carries_all_that_was_stored_after_a_number() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 2.5}])
    ingest.record_metrics(attempt.pk, [{"step": 2, "loss": 2.0, "own/name": 7}, {"step": 3, "eval_loss": 1.0}])
    ingest.record_events(attempt.pk, log_lines(1, 2))
    transitions.record_event(job.pk, EventType.WARNING, "Careful.", level="warning", data={"why": "test"})
    frame = job_frame(job.pk, 1)
    assert frame is not None
    body = frame.body
    assert (body["t"], body["id"], body["after"], body["seq"], body["more"]) == ("job", str(job.pk), 1, 4, False)
    assert body["metrics"] == {
        "step": [2, 3],
        "loss": [2.0, None],
        "eval_loss": [None, 1.0],
        "own/name": [7.0, None],
    }
    assert [(event["seq"], event["kind"], event["message"], event["data"]) for event in body["events"]] == [
        (4, "warning", "Careful.", {"why": "test"})
    ]
    assert [(line["n"], line["attempt"], line["text"]) for line in body["logs"]] == [(1, 1, "line 1"), (2, 1, "line 2")]
    assert body["job"]["event_seq"] == 4
    assert body["job"]["status"] == "running"


def test_values_that_are_not_finite_are_named_and_never_break_the_json() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": float("nan"), "grad_norm": 1.0, "mine": "-Infinity"}])
    frame = job_frame(job.pk, 0)
    assert frame is not None
    assert frame.body["metrics"] == {"step": [1], "grad_norm": [1.0]}
    assert sorted((one["step"], one["name"], one["value"]) for one in frame.body["nonfinite"]) == [
        (1, "loss", "NaN"),
        (1, "mine", "-Infinity"),
    ]
    assert b"NaN" in frame.encode()


def test_a_frame_with_nothing_new_still_shows_the_job() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
    frame = job_frame(job.pk, 1)
    assert frame is not None
    assert (frame.seq, frame.more, frame.carries_rows) == (1, False, False)
    assert frame.body["metrics"] == {"step": []}
    assert frame.body["job"]["current_step"] == 1


def test_a_changed_sample_is_named() -> None:
    job, _, _ = make_running_job(make_user())
    seq = transitions.allocate(job.pk)
    Sample.objects.create(job=job, index=3, seq=seq, prompt=[], expected="x")
    frame = job_frame(job.pk, 0)
    assert frame is not None
    assert frame.body["samples"] == [3]


def test_there_is_no_frame_of_a_job_that_does_not_exist() -> None:
    assert job_frame("00000000-0000-0000-0000-000000000000", 0) is None  # type: ignore[arg-type]


def test_a_number_from_before_a_restored_backup_starts_again_from_the_beginning() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
    frame = job_frame(job.pk, 900)
    assert frame is not None
    assert (frame.after, frame.seq, frame.body["metrics"]["step"]) == (0, 1, [1])


def test_many_points_come_in_bounded_frames_that_join_without_gap() -> None:
    job, attempt, _ = make_running_job(make_user())
    for batch in range(12):
        ingest.record_metrics(attempt.pk, [{"step": batch * 10 + i, "loss": 1.0} for i in range(10)])
    view = View()
    first = job_frame(job.pk, 0, limit=25)
    assert first is not None
    assert first.more
    assert len(first.body["metrics"]["step"]) == 20, "batches are never parted"
    assert read_all(job, view, limit=25) == 6
    assert sorted(view.points) == list(range(120))
    assert not view.gaps


def test_a_batch_larger_than_the_limit_goes_out_whole() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": i, "loss": 1.0} for i in range(40)])
    ingest.record_metrics(attempt.pk, [{"step": 100, "loss": 1.0}])
    view = View()
    assert read_all(job, view, limit=25) == 2
    assert len(view.points) == 41


def test_long_logs_are_cut_by_their_size() -> None:
    job, attempt, _ = make_running_job(make_user())
    for batch in range(10):
        ingest.record_events(attempt.pk, log_lines(batch * 20 + 1, batch * 20 + 20, "x" * 7_000))
    first = job_frame(job.pk, 0)
    assert first is not None
    assert first.more
    assert len(first.encode()) < frames.MAX_LOG_CHARACTERS + 150_000
    view = View()
    assert read_all(job, view) > 3
    assert view.logs == [(1, n) for n in range(1, 201)]


def test_a_cut_table_holds_the_others_back_to_the_same_number() -> None:
    job, attempt, _ = make_running_job(make_user())
    for n in range(1, 6):
        ingest.record_events(attempt.pk, log_lines(n, n))
        ingest.record_metrics(attempt.pk, [{"step": n, "loss": 1.0}])
    view = View()
    read_all(job, view, limit=2)
    assert sorted(view.points) == [1, 2, 3, 4, 5]
    assert view.logs == [(1, n) for n in range(1, 6)], "each line once"


def test_a_point_that_is_completed_later_moves_to_the_later_number() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
    ingest.record_metrics(attempt.pk, [{"step": 2, "loss": 0.9}])
    ingest.record_metrics(attempt.pk, [{"step": 1, "eval_loss": 0.5}])
    frame = job_frame(job.pk, 2)
    assert frame is not None
    assert frame.body["metrics"] == {"step": [1], "loss": [1.0], "eval_loss": [0.5]}


def test_many_windows_cost_as_many_queries_as_one() -> None:
    user = make_user()
    windows = []
    for _ in range(8):
        job, attempt, _ = make_running_job(user)
        ingest.record_metrics(attempt.pk, [{"step": 1, "loss": 1.0}])
        ingest.record_events(attempt.pk, log_lines(1, 1))
        windows += [(job.pk, 0), (job.pk, 1)]
    with CaptureQueriesContext(connection) as one:
        job_frames(windows[:1])
    with CaptureQueriesContext(connection) as many:
        found = job_frames(windows)
    assert len(one) == len(many) == 5
    assert len(found) == 16
    assert all(len(found[window].body["metrics"]["step"]) == (window[1] == 0) for window in windows)


@pytest.mark.django_db(transaction=True)
def test_a_reader_misses_nothing_while_six_writers_write() -> None:
    job, attempt, _ = make_running_job(make_user())
    writers, rounds = 6, 40

    def write(writer: int) -> None:
        try:
            for k in range(rounds):
                step = writer * 1000 + k
                ingest.record_metrics(attempt.pk, [{"step": step, "loss": float(step)}, {"step": 7, f"w{writer}": k}])
                if k % 10 == 0:
                    with transaction.atomic():
                        transitions.record_event(job.pk, EventType.WARNING, f"{writer} {k}")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(1, writers + 1)]
    view = View()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        read_all(job, view, limit=20)
    read_all(job, view, limit=20)
    job.refresh_from_db()
    assert view.seq == job.event_seq == writers * rounds + writers * rounds // 10
    assert set(view.points) == {7} | {w * 1000 + k for w in range(1, writers + 1) for k in range(rounds)}
    assert {view.points[7][f"w{w}"] for w in range(1, writers + 1)} == {rounds - 1}, "the last value of each came last"
    assert len(view.events) == len(set(view.events)) == writers * rounds // 10
    assert not view.gaps


def test_log_lines_of_a_restarted_program_do_not_collide() -> None:
    job, attempt, _ = make_running_job(make_user())
    ingest.record_events(attempt.pk, log_lines(1, 3))
    LogLine.objects.create(job=job, attempt=2, n=1, seq=transitions.allocate(job.pk), at=job.created_at, text="again")
    view = View()
    read_all(job, view)
    assert view.logs == [(1, 1), (1, 2), (1, 3), (2, 1)]
