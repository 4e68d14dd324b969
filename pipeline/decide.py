"""What to do about a live attempt, as a pure function of what we know, what the provider says, and the time.

Nothing here reads a clock, a database or a network, so millions of histories can be tried. The rules that matter:
a look that failed ends, starts and deletes nothing; an attempt is closed only on evidence that its machine is gone;
a stop is ordered again and again until then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from pipeline.providers.base import Machine, MachineState
from pipeline.states import STOPS_BY_DECISION, AttemptState, EndReason
from training.contract import HEARTBEAT_SECONDS, ExitCode, Outcome

QUARANTINE = timedelta(seconds=120)  # how long a new machine may stay invisible to looks
ABSENCE = timedelta(seconds=30)  # two looks this far apart must both miss a machine before it counts as gone
TALKS = timedelta(seconds=3 * HEARTBEAT_SECONDS)  # a program that called this lately runs, whatever the look says
SUSPECT = timedelta(minutes=5)  # silence after which the page says so
SILENCE = timedelta(minutes=20)  # silence after which the machine is stopped
STOP_GRACE = timedelta(seconds=60)  # how long a program may take to save a checkpoint where `stop` is brutal
FINISH_GRACE = timedelta(seconds=10)  # how long a machine may linger after its program said its last word
STILL_BILLED = timedelta(seconds=60)  # a stop that has not worked for this long is shown as what it is
STOP_ALERT = timedelta(minutes=5)  # and after this long people are told
STOP_AGAIN = (2.0, 4.0, 8.0, 15.0, 30.0, 60.0)


class Look(Enum):
    """What can come back instead of a machine."""

    ABSENT = "absent"  # the look worked and did not show it
    FAILED = "failed"  # the look did not work: nothing is known


@dataclass(frozen=True)
class Traits:
    """What kind of provider it is; see pipeline.providers.base.Provider."""

    runs_program: bool
    stop_is_graceful: bool
    poll_seconds: float
    contact_seconds: int
    provision_seconds: int = 900
    finds_by_name: bool = True
    create_is_idempotent: bool = True


@dataclass(frozen=True)
class View:
    """What our rows say about a job and its open attempt."""

    state: AttemptState
    wants_stop: bool
    stop_reason: str
    stop_requested_at: datetime | None
    stop_sent_at: datetime | None
    attempt_created_at: datetime
    create_unknown_since: datetime | None
    create_called: bool  # a create call was written down that was not surely in vain: something may exist
    first_missed_at: datetime | None
    machine_seen_at: datetime | None
    running_seen_at: datetime | None
    exited_seen_at: datetime | None
    first_contact_at: datetime | None
    last_seen_at: datetime | None
    outcome: str
    outcome_reason: str
    outcome_at: datetime | None
    max_duration: timedelta  # what is left of it for this attempt
    stop_alerted: bool = False
    forced: bool = False  # an operator wants the machine's end without grace, whatever its program is doing


@dataclass(frozen=True)
class Close:
    """The machine is gone (or never was): the attempt ends for `reason`, and `evidence` says how we know."""

    reason: EndReason
    evidence: str
    never_created: bool = False


@dataclass(frozen=True)
class Decision:
    next_in: float  # seconds until the next look
    close: Close | None = None
    send_stop: bool = False
    force: bool = False
    request_stop: EndReason | None = None  # a limit was passed: from now on the job is to stop, for this reason
    create_again: bool = False  # the provider was surely never asked: submission goes on with the same attempt
    missed: bool = False  # count this look as one that did not show the machine
    stage: str | None = None
    alert_stop: bool = False  # tell people that a stop has not worked for minutes


def decide(view: View, look: Machine | Look, now: datetime, traits: Traits) -> Decision:
    """What to do now. Of a stop that goes on and on people learn, whatever else is decided."""
    decision = _decide(view, look, now, traits)
    if view.forced and decision.close is None and not decision.create_again and decision.stage != "create_unknown":
        seen = isinstance(look, Machine)
        next_in = min(decision.next_in, _stop_again_in(view, now)) if seen else decision.next_in
        decision = replace(decision, send_stop=True, force=True, next_in=max(next_in, 1.0))
    if decision.close is None and view.wants_stop and view.stop_sent_at and look is not Look.ABSENT:
        since = now - view.stop_sent_at
        if since >= STILL_BILLED and not traits.stop_is_graceful:
            decision = replace(decision, stage="still_billed")
        if since >= STOP_ALERT and not view.stop_alerted:
            decision = replace(decision, alert_stop=True)
    return decision


def _decide(view: View, look: Machine | Look, now: datetime, traits: Traits) -> Decision:
    if look is Look.FAILED:
        return Decision(next_in=15.0, send_stop=view.wants_stop and _may_stop_now(view, now, traits))
    if look is Look.ABSENT:
        return _absent(view, now, traits)
    assert isinstance(look, Machine)
    if look.state is MachineState.GONE:
        return Decision(next_in=0, close=Close(end_reason(view, look), look.detail or "The provider says it is gone."))
    if look.state is MachineState.EXITED:
        return Decision(next_in=1.0, send_stop=True, force=True, stage="releasing")
    if look.state is MachineState.UNKNOWN:
        return Decision(next_in=15.0, send_stop=view.wants_stop)
    return _alive(view, look, now, traits)


def end_reason(view: View, machine: Machine | None) -> EndReason:
    """Why an attempt ended, from the strongest witness to the weakest."""
    if view.wants_stop and view.stop_reason in STOPS_BY_DECISION:
        return EndReason(view.stop_reason)
    outcome = view.outcome or (machine.outcome.value if machine and machine.outcome else "")
    told = view.outcome_reason or (machine.reason if machine else "")
    if outcome == Outcome.COMPLETED:
        return EndReason.COMPLETED
    if outcome == Outcome.FAILED:
        return EndReason(told) if told in EndReason.values else EndReason.TRAINING_ERROR
    if view.wants_stop:
        return EndReason(view.stop_reason)
    if outcome == Outcome.STOPPED:
        return EndReason.PREEMPTED  # somebody else told the program to stop
    if machine is None or machine.exit_code is None:
        # It had ended without a word and was still there: somebody took it away, a host or another hand.
        return EndReason.PREEMPTED if view.exited_seen_at else EndReason.VANISHED
    return _EXIT_REASONS.get(
        machine.exit_code, EndReason.TRAINING_ERROR if machine.exit_code > 0 else EndReason.VANISHED
    )


# An exit code counts only when the program could not report. 0 and REFUSED without a report mean that nobody knows.
_EXIT_REASONS: dict[int, EndReason] = {
    ExitCode.COMPLETED: EndReason.VANISHED,
    ExitCode.INVALID_DATA: EndReason.INVALID_DATA,
    ExitCode.OUT_OF_MEMORY: EndReason.OUT_OF_MEMORY,
    ExitCode.DEADLINE_EXCEEDED: EndReason.DEADLINE_EXCEEDED,
    ExitCode.SERVER_SILENT: EndReason.HEARTBEAT_LOST,
    ExitCode.STOPPED: EndReason.PREEMPTED,
    ExitCode.REFUSED: EndReason.VANISHED,
    137: EndReason.VANISHED,  # killed by signal 9
    143: EndReason.PREEMPTED,  # killed by signal 15 before the program could listen
}


def _absent(view: View, now: datetime, traits: Traits) -> Decision:
    if not view.create_called:
        if view.wants_stop:
            evidence = "The provider was never asked for a machine."
            return Decision(next_in=0, close=Close(end_reason(view, None), evidence, never_created=True))
        return Decision(next_in=0, create_again=True)
    if view.state is AttemptState.INTENT and not traits.finds_by_name:
        # Looking cannot help here. Either the same request may be repeated, or a person must say what became of it.
        if traits.create_is_idempotent:
            return Decision(next_in=15.0, create_again=True)
        return Decision(next_in=60.0, stage="create_unknown")
    missing_for = now - view.first_missed_at if view.first_missed_at else timedelta(0)
    exists = view.state is AttemptState.LIVE or view.first_contact_at is not None
    # A list may lag behind a create, so the time it gets counts from the last moment at which one can have been made.
    since = (view.machine_seen_at if exists else view.create_unknown_since) or view.attempt_created_at
    quarantined = now - since < QUARANTINE
    # One that has said its last word talks no more, and may have ended its machine itself.
    talks = traits.runs_program and not view.outcome and view.last_seen_at and now - view.last_seen_at < TALKS
    if quarantined or talks or missing_for < ABSENCE:
        send_stop = view.wants_stop and _may_stop_now(view, now, traits)
        next_in = max(traits.poll_seconds, 16.0) if exists else 15.0
        return Decision(next_in=next_in, missed=True, send_stop=send_stop)
    if exists:
        evidence = f"Missing in two looks at the provider, {int(missing_for.total_seconds())} s apart."
        return Decision(next_in=0, close=Close(end_reason(view, None), evidence))
    seconds = int((now - since).total_seconds())
    evidence = f"No machine of this name appeared within {seconds} s after the unclear answer."
    reason = EndReason(view.stop_reason) if view.wants_stop else EndReason.PROVIDER_ERROR
    return Decision(next_in=0, close=Close(reason, evidence, never_created=True))


def _alive(view: View, machine: Machine, now: datetime, traits: Traits) -> Decision:
    if view.outcome:
        lingering = now - (view.outcome_at or now)
        return Decision(
            next_in=0.5 if lingering < FINISH_GRACE else 2.0,
            send_stop=lingering >= FINISH_GRACE,
            force=lingering >= 3 * FINISH_GRACE,
            stage="releasing" if lingering >= FINISH_GRACE else None,
        )
    if view.wants_stop:
        send = _may_stop_now(view, now, traits)
        return Decision(next_in=_stop_again_in(view, now) if send else 2.0, send_stop=send)
    started = view.first_contact_at if traits.runs_program else view.running_seen_at  # not while it waits in a queue
    if started and now - started > view.max_duration + (STOP_GRACE if traits.runs_program else timedelta(0)):
        return Decision(next_in=0, request_stop=EndReason.DEADLINE_EXCEEDED)
    seen = view.machine_seen_at or view.attempt_created_at
    waits = machine.state is MachineState.STARTING and view.first_contact_at is None
    if waits and now - seen > timedelta(seconds=traits.provision_seconds):
        return Decision(next_in=0, request_stop=EndReason.START_TIMEOUT)
    if traits.runs_program:
        running = view.running_seen_at or (None if waits else seen)
        late = running is not None and now - running > timedelta(seconds=traits.contact_seconds)
        if view.first_contact_at is None and late:
            return Decision(next_in=0, request_stop=EndReason.START_TIMEOUT)
        silent = now - view.last_seen_at if view.last_seen_at else timedelta(0)
        if silent > SILENCE:
            return Decision(next_in=0, request_stop=EndReason.HEARTBEAT_LOST)
        if silent > SUSPECT:
            return Decision(next_in=traits.poll_seconds, stage="contact_lost")
    return Decision(next_in=traits.poll_seconds)


def _may_stop_now(view: View, now: datetime, traits: Traits) -> bool:
    """Where `stop` kills at once, a program that still talks gets a grace: it learns of the stop from our answers."""
    if traits.stop_is_graceful or not traits.runs_program or view.stop_requested_at is None:
        return True
    talks = view.last_seen_at is not None and now - view.last_seen_at < STOP_GRACE
    return not talks or now - view.stop_requested_at >= STOP_GRACE


def _stop_again_in(view: View, now: datetime) -> float:
    """Back-off of repeated stop orders, from how long ago the first was sent."""
    if view.stop_sent_at is None:
        return 1.0
    ago = (now - view.stop_sent_at).total_seconds()
    return next((step for step in STOP_AGAIN if ago < 4 * step), STOP_AGAIN[-1])
