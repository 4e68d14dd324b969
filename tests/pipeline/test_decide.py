"""The decision, tried on histories nobody thought of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide import ABSENCE, QUARANTINE, TALKS, Look, Traits, View, decide
from pipeline.providers.base import Machine, MachineState
from pipeline.states import STOPS_BY_DECISION, AttemptState, EndReason
from training.contract import Outcome

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
moment = st.integers(0, 7200).map(lambda s: NOW - timedelta(seconds=s))
past = st.none() | moment
traits = st.builds(
    Traits,
    runs_program=st.booleans(),
    stop_is_graceful=st.booleans(),
    poll_seconds=st.sampled_from([1.0, 5.0, 30.0]),
    contact_seconds=st.sampled_from([60, 600]),
    provision_seconds=st.sampled_from([60, 900]),
    finds_by_name=st.booleans(),
    create_is_idempotent=st.booleans(),
)


@st.composite
def views(draw: st.DrawFn) -> View:
    wants_stop = draw(st.booleans())
    create_called = draw(st.booleans())
    outcome = draw(st.sampled_from(["", "completed", "failed", "stopped"]))
    return View(
        state=draw(st.sampled_from([AttemptState.INTENT, AttemptState.LIVE])) if create_called else AttemptState.INTENT,
        wants_stop=wants_stop,
        stop_reason=draw(st.sampled_from(EndReason.values)) if wants_stop else "",
        stop_requested_at=draw(moment) if wants_stop else None,
        stop_sent_at=draw(past),
        attempt_created_at=NOW - timedelta(hours=2),
        create_unknown_since=draw(past),
        create_called=create_called,
        first_missed_at=draw(past),
        machine_seen_at=draw(past),
        running_seen_at=draw(past),
        exited_seen_at=draw(past),
        first_contact_at=draw(past),
        last_seen_at=draw(past),
        outcome=outcome,
        outcome_reason=draw(st.sampled_from(["", *EndReason.values])) if outcome else "",
        outcome_at=draw(moment) if outcome else None,
        max_duration=timedelta(seconds=draw(st.integers(60, 86400))),
        stop_alerted=draw(st.booleans()),
    )


def machines(*states: MachineState) -> st.SearchStrategy[Machine]:
    return st.builds(
        Machine,
        name=st.just("m"),
        external_id=st.just("x"),
        state=st.sampled_from(states or tuple(MachineState)),
        exit_code=st.none() | st.integers(-15, 255),
        outcome=st.none() | st.sampled_from(Outcome),
        reason=st.sampled_from(["", "nonsense", *EndReason.values]),
        detail=st.sampled_from(["", "It is gone."]),
    )


@given(views(), traits)
def test_a_failed_look_concludes_nothing(view: View, kind: Traits) -> None:
    decision = decide(view, Look.FAILED, NOW, kind)
    assert decision.close is None
    assert decision.request_stop is None
    assert not decision.create_again
    assert not decision.missed
    assert not decision.send_stop or view.wants_stop


@given(views(), st.just(Look.ABSENT) | st.just(Look.FAILED) | machines(), traits)
def test_every_decision_has_a_next_look_and_evidence(view: View, look: Machine | Look, kind: Traits) -> None:
    decision = decide(view, look, NOW, kind)
    assert 0 <= decision.next_in <= 60
    if decision.close:
        assert decision.close.evidence.endswith(".")
        assert not decision.send_stop
        assert decision.request_stop is None


@given(views(), machines(*(state for state in MachineState if state is not MachineState.GONE)), traits)
def test_a_machine_that_is_shown_is_never_closed(view: View, machine: Machine, kind: Traits) -> None:
    assert decide(view, machine, NOW, kind).close is None


@given(views(), machines(MachineState.GONE), traits)
def test_gone_closes_and_a_persons_decision_names_the_reason(view: View, machine: Machine, kind: Traits) -> None:
    close = decide(view, machine, NOW, kind).close
    assert close is not None
    if view.wants_stop and view.stop_reason in STOPS_BY_DECISION:
        assert close.reason == view.stop_reason
    if close.reason == EndReason.COMPLETED:
        assert Outcome.COMPLETED in (view.outcome, machine.outcome) or "completed" in (
            view.outcome_reason,
            machine.reason,
            view.stop_reason,
        )


@given(views(), traits)
def test_absence_needs_two_looks_and_a_lost_answer_the_quarantine(view: View, kind: Traits) -> None:
    close = decide(view, Look.ABSENT, NOW, kind).close
    if close is None or not view.create_called:
        return
    assert view.first_missed_at is not None
    assert NOW - view.first_missed_at >= ABSENCE
    if close.never_created:
        assert view.first_contact_at is None
        assert NOW - (view.create_unknown_since or view.attempt_created_at) >= QUARANTINE
    elif view.machine_seen_at:
        assert NOW - view.machine_seen_at >= QUARANTINE
    if kind.runs_program and view.last_seen_at:
        assert NOW - view.last_seen_at >= TALKS


@given(views(), traits)
def test_a_second_create_is_only_for_a_provider_never_asked_or_one_that_may_be_asked_twice(
    view: View, kind: Traits
) -> None:
    for look in Look:
        if decide(view, look, NOW, kind).create_again:
            if view.create_called:
                assert kind.create_is_idempotent
                assert not kind.finds_by_name
            else:
                assert not view.wants_stop
