from __future__ import annotations

import uuid

from pipeline.live.outbox import SILENT_SECONDS, STUCK_SECONDS, WINDOW_BYTES, Outbox

JOB, OTHER = uuid.uuid4(), uuid.uuid4()


def test_an_acknowledged_number_confirms_everything_before_it() -> None:
    box = Outbox()
    box.sent(100, 0, JOB, 1)
    box.sent(50, 0, OTHER, 9)
    box.sent(100, 0, JOB, 2)
    box.sent(30, 0, JOB, 3)
    box.acknowledged({JOB: 2}, 1)
    assert box.unread_bytes == 30


def test_an_old_or_foreign_acknowledgement_confirms_nothing() -> None:
    box = Outbox()
    box.sent(100, 0, JOB, 5)
    box.acknowledged({JOB: 4, OTHER: 100}, 1)
    box.acknowledged({}, 1)
    assert box.unread_bytes == 100


def test_any_acknowledgement_confirms_frames_without_a_number() -> None:
    box = Outbox()
    box.sent(100, 0)
    box.sent(100, 0)
    box.sent(70, 0, JOB, 1)
    box.sent(9, 0)
    box.acknowledged({}, 1)
    assert box.unread_bytes == 79
    box.acknowledged({JOB: 1}, 2)
    assert box.unread_bytes == 0


def test_beyond_the_window_there_is_no_room_until_something_is_read() -> None:
    box = Outbox()
    box.sent(WINDOW_BYTES, 0, JOB, 1)
    assert box.has_room
    box.sent(1, 0, JOB, 2)
    assert not box.has_room
    box.acknowledged({JOB: 1}, 5)
    assert box.has_room


def test_a_page_that_cannot_keep_up_is_given_up() -> None:
    box = Outbox()
    box.sent(WINDOW_BYTES + 1, 100, JOB, 1)
    assert not box.given_up(100 + STUCK_SECONDS)
    box.acknowledged({}, 105)
    assert box.given_up(100 + STUCK_SECONDS + 0.1), "it answers, but reads nothing"


def test_a_page_that_falls_silent_is_given_up() -> None:
    box = Outbox()
    box.sent(10, 100, JOB, 1)
    assert not box.given_up(100 + SILENT_SECONDS)
    assert box.given_up(100 + SILENT_SECONDS + 0.1)


def test_silence_counts_only_while_an_acknowledgement_is_due() -> None:
    box = Outbox()
    box.sent(10, 100, JOB, 1)
    box.acknowledged({JOB: 1}, 101)
    assert not box.given_up(1_000)
    box.sent(10, 1_000, JOB, 2)
    assert not box.given_up(1_000 + SILENT_SECONDS)
    box.sent(10, 1_000)
    box.acknowledged({JOB: 2}, 1_001)
    assert not box.given_up(5_000), "frames without a number need none"
