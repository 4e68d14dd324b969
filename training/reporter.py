"""Carries events to the server without ever making the training wait.

`log` writes one line to the spool and returns; one thread sends what the server has not acknowledged yet, in batches,
and goes on trying while the server is away. The answers carry stop requests back. A restarted process goes on with the
same spool.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.client import Answer, Client, Kind, backoff
from training.contract import MAX_BATCH_EVENTS, MAX_BODY_BYTES, EventKind, Finish, Stage
from training.redact import Redactor
from training.spool import Spool
from training.stopping import StopKind, StopSignal

LINGER_SECONDS = 0.02  # how long a first event waits for company; more would be felt on the page
BODY_BYTES = MAX_BODY_BYTES * 3 // 4  # of one batch, so that the envelope and a proxy's own limit have room
MAX_EVENT_BYTES = MAX_BODY_BYTES // 4
LONGEST_WAIT = 30.0
CLOSING_WAIT = 2.0  # longest wait between two tries while the run is about to end


class Reporter:
    """`gauges` is asked for numbers of the machine (GPU use) at each heartbeat, in the sender's thread."""

    def __init__(
        self,
        client: Client,
        spool_path: Path,
        stop: StopSignal,
        redact: Redactor,
        heartbeat_seconds: float = 15.0,
        gauges: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._client = client
        self._stop = stop
        self._redact = redact
        self._heartbeat_seconds = heartbeat_seconds
        self._gauges = gauges
        self._spool = Spool(spool_path)
        self._changed = threading.Condition()
        self._acked = 0
        self._max_batch = MAX_BATCH_EVENTS
        self._closing = False
        self._ended = False
        self._saved_for: object = None
        self.deadline: float | None = None  # as the server said last (monotonic): limits may be changed meanwhile
        self.last_contact = time.monotonic()  # when the server last answered; the watchdog reads it
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # What the training calls. None of these waits for the network.

    def log(self, kind: EventKind, data: dict[str, Any]) -> None:
        text = json.dumps({"t": round(time.time(), 3), "kind": kind, "data": data}, ensure_ascii=False, default=str)
        body = text.encode("utf-8", "replace")
        if len(body) > MAX_EVENT_BYTES:
            body = _note(f"An event of kind {kind} with {len(body)} bytes was too large to send and is left out.")
        with self._changed:
            if self._ended:
                return
            # The number is only known under the lock, so it is put in front of the text made outside of it.
            self._spool.append(b'{"n": %d, ' % (self._spool.last_n + 1) + body[1:])
            self._changed.notify_all()

    def metric(self, step: int, values: dict[str, float]) -> None:
        self.log(EventKind.METRIC, {"step": step, **values})

    def stage(self, stage: Stage, detail: str = "") -> None:
        self.log(EventKind.STAGE, {"stage": stage, "detail": self._redact(detail)})

    def text(self, text: str, stream: str = "program") -> None:
        self.log(EventKind.LOG, {"text": self._redact(text), "stream": stream})

    @property
    def last_n(self) -> int:
        return self._spool.last_n

    # The end of a run.

    def close(self, timeout: float) -> bool:
        """Wait until the server has everything, at most `timeout` seconds; say whether it has."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._acked >= self._spool.last_n or self._stop.is_refused, timeout)
            return self._acked >= self._spool.last_n

    def finish(self, finish: Finish, timeout: float) -> Answer:
        """Say the last word of the attempt, again and again until the server has it or the time is over."""
        end = time.monotonic() + timeout
        waits = backoff(0.3, CLOSING_WAIT)
        while True:
            self.close(max(0.0, end - time.monotonic()))
            answer = self._client.post("finish", finish.to_json())
            missing = answer.status == 409 and answer.body.get("code") == "events_missing"
            if missing:
                with self._changed:
                    self._acked = _count(answer.body.get("acked"), 0)
                    self._changed.notify_all()
            if answer.kind in (Kind.OK, Kind.OVER) or (answer.kind is Kind.REFUSED and not missing):
                break
            if time.monotonic() >= end or self._stop.is_refused:
                break
            time.sleep(min(next(waits), max(0.05, end - time.monotonic())))
        self.abandon()
        return answer

    def abandon(self) -> None:
        """Stop sending at once; what was not sent stays in the spool."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # The sender's thread.

    def _run(self) -> None:
        waits = backoff(0.5, LONGEST_WAIT)
        next_heartbeat = time.monotonic() + self._heartbeat_seconds
        while not self._ended:
            if time.monotonic() >= next_heartbeat and not self._closing:
                next_heartbeat = time.monotonic() + self._heartbeat_seconds
                self.log(EventKind.HEARTBEAT, self._gauges())
            if not self._wait_for_work(next_heartbeat):
                continue
            answer = self._send()
            if answer.kind is Kind.OK:
                waits = backoff(0.5, LONGEST_WAIT)
                continue
            if answer.kind is Kind.OVER:
                self._stop.ask(StopKind.REFUSED, "refused", f"The server ended this attempt: {answer.said}.", 60.0)
                with self._changed:
                    self._changed.notify_all()
                return
            # While the server is away no heartbeat is added: it says nothing that the next one would not.
            wait = next(waits) if answer.retry_after is None else answer.retry_after
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._ended, wait)
                if self._closing and not self._ended:
                    self._changed.wait_for(lambda: self._ended, min(wait, CLOSING_WAIT))
            next_heartbeat = time.monotonic() + self._heartbeat_seconds

    def _wait_for_work(self, until: float) -> bool:
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or self._acked < self._spool.last_n, max(0.0, until - time.monotonic())
            )
            if self._ended or self._acked >= self._spool.last_n:
                return False
            if self._spool.last_n - self._acked < self._max_batch and not self._closing:
                self._changed.wait_for(lambda: self._ended, LINGER_SECONDS)
            return not self._ended

    def _send(self) -> Answer:
        first = self._acked + 1
        lines = self._spool.read(first, self._max_batch, BODY_BYTES)
        answer = self._client.post_bytes("events", b'{"events": [' + b",".join(lines) + b"]}")
        if answer.kind is Kind.OK:
            self.last_contact = time.monotonic()
            self._obey(answer.body)
            return self._take_acked(answer, first, len(lines))
        if answer.kind is Kind.REFUSED:
            self.last_contact = time.monotonic()
            self._make_acceptable(first, len(lines), answer)
        return answer

    def _take_acked(self, answer: Answer, first: int, sent: int) -> Answer:
        acked = _count(answer.body.get("acked"), first + sent - 1)
        with self._changed:
            moved = acked >= first or acked < first - 1
            self._acked = min(acked, self._spool.last_n)
            self._max_batch = min(MAX_BATCH_EVENTS, self._max_batch * 2)
            self._changed.notify_all()
        # An answer that acknowledges nothing new would otherwise be asked for in a tight loop.
        return answer if moved else Answer(Kind.LATER, answer.status, error="nothing was stored")

    def _make_acceptable(self, first: int, sent: int, answer: Answer) -> None:
        """One event that the server refuses must not hold up all others: find it by halving and leave it out."""
        if sent > 1:
            self._max_batch = max(1, sent // 2)
            return
        note = _note(f"One event was refused by the server ({answer.said}) and is left out.")
        with self._changed:
            self._spool.replace(first, b'{"n": %d, ' % first + note[1:])

    def _obey(self, body: dict[str, Any]) -> None:
        save = body.get("save")  # when it was asked for: the same number again is the same request
        if save and save != self._saved_for:
            self._saved_for = save
            self._stop.save_requested = True
        left = body.get("seconds_left")
        if isinstance(left, int | float) and not isinstance(left, bool) and left > 0:
            self.deadline = time.monotonic() + float(left)
        stop = body.get("stop")
        if isinstance(stop, dict):
            reason, grace = str(stop.get("reason") or "cancelled_by_user"), stop.get("grace_seconds")
            seconds = float(grace) if isinstance(grace, int | float) and not isinstance(grace, bool) else 60.0
            self._stop.ask(StopKind.SERVER, reason, f"The server asked to stop: {reason}.", seconds)


def _note(text: str) -> bytes:
    data = {"text": text, "stream": "program"}
    return json.dumps({"t": round(time.time(), 3), "kind": EventKind.LOG, "data": data}).encode()


def _count(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise
