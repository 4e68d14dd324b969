"""Rules on real rows: what is read for them, that each fires once, and what follows."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from notifications.models import Notification
from notifications.services import deliver_pending
from pipeline import clock, ingest
from pipeline.live.state import job_state
from pipeline.models import Attempt, EventType, Job, JobEvent, Preset, Rule
from pipeline.services import rulebook, ruling
from pipeline.services.ending import close_attempt, end_job
from pipeline.services.errors import Conflict, InvalidInput
from pipeline.services.jobs import made_with, retry_job
from pipeline.states import EndReason, JobStatus
from tests.factories import make_attempt, make_job, make_running_job, make_user
from tests.fakes.provider import ScriptedProvider, World

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("world")]
MINUTE = timedelta(minutes=1)


def running(*rules: dict[str, Any]) -> tuple[Job, Attempt]:
    job, attempt, _ = make_running_job(make_user())
    rulebook.give(job, rules)
    return job, attempt


def rule(kind: str, action: str = "notify", **parameters: Any) -> dict[str, Any]:
    return {"kind": kind, "action": action, "parameters": parameters}


def log(attempt: Attempt, *points: dict[str, Any]) -> None:
    ingest.record_metrics(attempt.pk, points)


def fired(job: Job) -> list[JobEvent]:
    return [event for event in job.events.filter(kind=EventType.RULE) if event.data["what"] == "fired"]


def only(job: Job) -> Rule:
    return Rule.objects.select_related("job").get(job=job)


class TestFiring:
    def test_stops_a_diverged_run_and_says_why_everywhere(self):
        job, attempt = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 1, "loss": 2.0}, {"step": 2, "loss": "NaN"})
        assert ruling.judge_due() == 1
        job.refresh_from_db()
        assert (job.status, job.stop_reason) == ("cancelling", EndReason.STOPPED_BY_RULE)
        (event,) = fired(job)
        assert event.data["saw"] == "loss NaN at step 2"
        assert event.data["step"] == 2
        close_attempt(attempt, EndReason.STOPPED_BY_RULE, "gone")
        end_job(job, attempt, EndReason.STOPPED_BY_RULE)
        job.refresh_from_db()
        assert job.status == JobStatus.CANCELLED
        assert job_state(job)["reason_text"] == (
            "Stopped by a rule of the job: loss NaN at step 2. The rule says: Stop when loss is not a number. "
            "Mend the cause or change the rule, then start again to go on."
        )
        deliver_pending()
        kinds = list(Notification.objects.filter(job=job).order_by("created_at").values_list("type", flat=True))
        assert kinds == ["loss_diverged", "job_cancelled"]

    def test_tells_and_leaves_the_job_alone(self):
        job, attempt = running(rule("metric_threshold", metric="reward", side="below", threshold=0))
        log(attempt, {"step": 7, "reward": -0.5})
        ruling.judge_due()
        job.refresh_from_db()
        assert (job.status, job.save_requested_at) == ("running", None)
        deliver_pending()
        told = Notification.objects.get(job=job)
        assert (told.type, told.message) == (
            "rule_fired", "reward -0.5 at step 7, limit 0. The rule says: Tell me when reward is below 0."
        )  # fmt: skip

    def test_asks_for_a_checkpoint(self):
        job, attempt = running(rule("loss_above", "checkpoint", threshold=5, after_step=0))
        log(attempt, {"step": 3, "loss": 6})
        ruling.judge_due()
        job.refresh_from_db()
        assert (job.status, job.save_requested_at is not None) == ("running", True)

    def test_asks_no_program_that_would_not_understand(self, monkeypatch):
        monkeypatch.setattr(ScriptedProvider, "runs_program", False)
        job, attempt = running(rule("loss_above", "checkpoint", threshold=5, after_step=0))
        log(attempt, {"step": 3, "loss": 6})
        assert ruling.judge_due() == 1
        job.refresh_from_db()
        assert job.save_requested_at is None

    def test_fires_once_until_it_is_armed_again(self):
        job, attempt = running(rule("loss_above", threshold=5, after_step=0))
        log(attempt, {"step": 1, "loss": 6})
        assert [ruling.judge_due(), ruling.judge_due()] == [1, 0]
        log(attempt, {"step": 2, "loss": 7})
        assert ruling.judge_due() == 0
        rulebook.arm(only(job).pk)
        assert ruling.judge_due() == 0  # what it saw before counts no more
        log(attempt, {"step": 3, "loss": 8})
        assert ruling.judge_due() == 1
        assert [event.data["saw"] for event in fired(job)] == [
            "loss 6 at step 1, limit 5", "loss 8 at step 3, limit 5"
        ]  # fmt: skip

    def test_one_that_was_switched_off_meanwhile_does_not_fire(self):
        job, attempt = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 2, "loss": "NaN"})
        cases = ruling.gather(clock.now())
        rulebook.change(only(job).pk, 1, {"enabled": False})
        assert ruling._judge(cases, clock.now()) == 0
        assert (only(job).saw, fired(job)) == ("", [])

    def test_a_job_that_is_stopping_is_left_alone(self):
        job, attempt = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 2, "loss": "NaN"})
        Job.objects.filter(pk=job.pk).update(
            status="cancelling", desired="stop", stop_reason="cancelled_by_user", stop_requested_at=Now()
        )
        assert ruling.judge_due() == 0

    def test_a_run_that_has_just_finished_is_told_of_only(self):
        job, attempt = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 2, "loss": "NaN"})
        Attempt.objects.filter(pk=attempt.pk).update(outcome="completed", outcome_at=Now())
        assert ruling.judge_due() == 1
        job.refresh_from_db()
        assert (job.status, len(fired(job))) == ("running", 1)

    def test_a_rule_that_cannot_be_carried_out_holds_up_no_other(self, monkeypatch):
        first, attempt = running(rule("loss_not_finite", "stop"))
        second, other = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 2, "loss": "NaN"})
        log(other, {"step": 2, "loss": "NaN"})
        real = ruling.request_stop

        def broken(job_id: Any, *arguments: Any, **named: Any) -> bool:
            if job_id == first.pk:
                raise RuntimeError("no")
            return real(job_id, *arguments, **named)

        monkeypatch.setattr(ruling, "request_stop", broken)
        assert ruling.judge_due() == 1
        # Nothing of the broken one was kept, so the next look fires it.
        assert (only(first).fired_at, fired(first)) == (None, [])
        monkeypatch.setattr(ruling, "request_stop", real)
        assert ruling.judge_due() == 1
        assert len(fired(first)) == len(fired(second)) == 1


@pytest.mark.django_db(transaction=True)
def test_of_two_who_look_at_once_one_fires(world: World):
    job, attempt = running(rule("loss_not_finite", "stop"), rule("loss_above", threshold=1, after_step=0))
    log(attempt, {"step": 1, "loss": 2.0}, {"step": 2, "loss": "NaN"})
    at_once = threading.Barrier(4)
    counts: list[int] = []

    def look() -> None:
        try:
            cases, now = ruling.gather(clock.now()), clock.now()
            at_once.wait(20)
            counts.append(ruling._judge(cases, now))
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    # The stop may come first; then the other rule has nothing more to watch.
    assert sum(counts) == len(fired(job)) in (1, 2)
    assert sum(event.data["kind"] == "loss_not_finite" for event in fired(job)) == 1
    assert job.events.filter(data__to="cancelling").count() == 1


class TestWhatIsRead:
    def test_a_missing_metric_is_said_until_it_comes(self):
        job, attempt = running(rule("no_better_eval", evaluations=2))
        log(attempt, {"step": 1, "loss": 2.0})
        ruling.judge_due()
        found = only(job)
        assert (rulebook.state_of(found), found.saw) == ("waiting", "This run has not logged eval_loss yet.")
        log(attempt, {"step": 2, "eval_loss": 1.5})
        ruling.judge_due()
        found = only(job)
        assert (rulebook.state_of(found), found.saw) == ("armed", "eval_loss 1.5 at step 2 is the best")

    def test_evaluations_of_a_resumed_run_do_not_count_twice(self):
        job, attempt = running(rule("no_better_eval", evaluations=3))
        log(attempt, *({"step": 50 * n, "eval_loss": loss} for n, loss in enumerate((1.0, 1.1, 1.2), 1)))
        Attempt.objects.filter(pk=attempt.pk).update(
            state="gone", gone_at=Now(), gone_evidence="gone", reason="vanished"
        )
        second, _ = make_attempt(job)
        log(second, {"step": 60, "loss": 0.9})
        assert ruling.judge_due() == 0
        assert only(job).saw == "eval_loss 1 at step 50 is the best"
        log(second, {"step": 100, "eval_loss": 1.1}, {"step": 150, "eval_loss": 1.2})
        assert ruling.judge_due() == 0
        log(second, {"step": 200, "eval_loss": 1.3})
        assert ruling.judge_due() == 1

    def test_a_rule_made_late_looks_forward(self):
        job, attempt = running()
        log(attempt, {"step": 1, "loss": "NaN"}, {"step": 2, "loss": 1.0})
        rulebook.add(job.pk, rule("loss_not_finite", "stop"))
        assert ruling.judge_due() == 0
        log(attempt, {"step": 3, "loss": "NaN"})
        assert ruling.judge_due() == 1

    def test_points_in_a_row_are_counted_over_several_looks(self):
        job, attempt = running(rule("metric_threshold", metric="grad_norm", threshold=10, points=3))
        for step in (1, 2):
            log(attempt, {"step": step, "grad_norm": 20})
            assert ruling.judge_due() == 0
        log(attempt, {"step": 3, "grad_norm": 20})
        assert ruling.judge_due() == 1
        assert fired(job)[0].data["saw"] == "grad_norm 20 at step 3, 3 points in a row, limit 10"

    def test_another_attempt_begins_a_new_row(self):
        job, attempt = running(rule("metric_threshold", metric="grad_norm", threshold=10, points=2))
        log(attempt, {"step": 1, "grad_norm": 20})
        Attempt.objects.filter(pk=attempt.pk).update(
            state="gone", gone_at=Now(), gone_evidence="gone", reason="vanished"
        )
        second, _ = make_attempt(job)
        log(second, {"step": 2, "grad_norm": 20})
        assert ruling.judge_due() == 0

    def test_nan_of_a_lost_attempt_is_left_to_the_next_one(self):
        job, attempt = running(rule("loss_not_finite", "stop"))
        log(attempt, {"step": 9, "loss": "NaN"})
        Attempt.objects.filter(pk=attempt.pk).update(
            state="gone", gone_at=Now(), gone_evidence="gone", reason="vanished"
        )
        second, _ = make_attempt(job)
        log(second, {"step": 5, "loss": 1.5})
        assert ruling.judge_due() == 0

    @pytest.mark.parametrize(
        ("minutes", "use", "fires"),
        [
            (range(16), 3, True),
            (range(9), 3, False),  # not long enough
            ((0, 1, 2, 13, 14, 15), 3, False),  # a hole
            (range(16), 30, False),
            (range(0, 64, 4), 3, True),  # rare, but regular
        ],
    )
    def test_the_window_of_an_idle_gpu(self, minutes, use, fires):
        job, attempt = running(rule("gpu_idle", percent=10, minutes=15))
        log(attempt, {"step": 0, "gpu_utilization": 99})
        start = timezone.now() - timedelta(hours=2)
        points = [{"step": 1 + minute, "gpu_utilization": use} for minute in minutes]
        log(attempt, *points)
        for point in points:
            job.metric_points.filter(step=point["step"]).update(at=start + (point["step"] - 1) * MINUTE)
        job.metric_points.filter(step=0).update(at=start - timedelta(hours=1))
        assert (ruling.judge_due() == 1) is fires

    def test_the_cost_between_two_readings_of_the_meter_counts(self):
        _, attempt = running(rule("cost_above", amount=1))
        Attempt.objects.filter(pk=attempt.pk).update(price_per_hour=4, metered_until=Now() - timedelta(minutes=14))
        assert ruling.judge_due() == 0
        Attempt.objects.filter(pk=attempt.pk).update(metered_until=Now() - timedelta(minutes=16))
        assert ruling.judge_due() == 1

    def test_no_progress_is_measured_by_our_clock(self):
        job, attempt = running(rule("no_progress", minutes=30))
        log(attempt, {"step": 40, "loss": 1.0})
        begin = clock.now()
        looks = [begin + timedelta(seconds=60 * n) for n in range(30)]
        assert [ruling.judge_due(at) for at in looks] == [0] * 30
        assert only(job).saw == "Step 40 for 29 minutes"
        assert ruling.judge_due(begin + 30 * MINUTE) == 1
        deliver_pending()
        assert Notification.objects.get(job=job).type == "job_stalled"

    def test_a_retry_that_waits_is_no_standstill(self):
        job, attempt = running(rule("no_progress", minutes=1))
        log(attempt, {"step": 40, "loss": 1.0})
        begin = clock.now()
        ruling.judge_due(begin)
        Job.objects.filter(pk=job.pk).update(status="queued", current_stage="waiting_to_retry")
        assert ruling.judge_due(begin + 90 * MINUTE) == 0
        Attempt.objects.filter(pk=attempt.pk).update(
            state="gone", gone_at=Now(), gone_evidence="gone", reason="vanished"
        )
        make_attempt(job)
        Job.objects.filter(pk=job.pk).update(status="running", current_stage="training")
        assert ruling.judge_due(begin + 91 * MINUTE) == 0

    def test_as_many_queries_for_many_jobs_as_for_one(self, django_assert_max_num_queries):
        every = [
            rule("loss_not_finite"), rule("loss_above", threshold=50), rule("no_better_eval", evaluations=9),
            rule("no_progress"), rule("gpu_idle"), rule("cost_above", amount=99),
            rule("metric_threshold", threshold=99, points=2),
        ]  # fmt: skip
        for _ in range(6):
            _, attempt = running(*every)
            log(attempt, {"step": 1, "loss": 2, "eval_loss": 1, "gpu_utilization": 90, "grad_norm": 1})
        with django_assert_max_num_queries(7):
            assert ruling.judge_due() == 0

    def test_what_has_not_moved_is_not_read_again(self):
        _, attempt = running(rule("loss_above", threshold=5))
        log(attempt, {"step": 1, "loss": 2})
        assert len(ruling.gather(clock.now())) == 1
        ruling.judge_due()
        assert ruling.gather(clock.now()) == []


class TestRulesOfNewJobs:
    def test_everybody_begins_with_the_same_two(self):
        job = make_job(make_user())
        assert [one.sentence for one in job.rules.all()] == [
            "Stop when loss is not a number.",
            "Tell me when no new step has come for 30 minutes.",
        ]

    def test_a_default_that_is_off_is_not_given(self):
        owner = make_user()
        nan, _ = rulebook.defaults_of(owner)
        rulebook.change(nan.pk, nan.version, {"enabled": False})
        assert [one.kind for one in make_job(owner).rules.all()] == ["no_progress"]

    def test_the_preset_counts_before_the_person(self):
        preset = Preset.objects.get(is_default=True)
        Rule.objects.create(preset=preset, kind="no_progress", parameters={"minutes": 5}, action="stop")
        Rule.objects.create(preset=preset, kind="cost_above", parameters={"amount": 3.0})
        job = make_job(make_user(), preset=preset)
        assert [(one.kind, one.action) for one in job.rules.all()] == [
            ("loss_not_finite", "stop"), ("no_progress", "stop"), ("cost_above", "notify"),
        ]  # fmt: skip

    def test_asked_for_rules_replace_all_defaults(self):
        owner = make_user()
        assert not make_job(owner, rules=[]).rules.exists()
        job = make_job(owner, rules=[rule("cost_above", amount=2)])
        assert [one.sentence for one in job.rules.all()] == ["Tell me when the cost is above $2.00."]

    def test_what_is_wrong_with_them_is_named(self):
        owner = make_user()
        with pytest.raises(InvalidInput) as refused:
            make_job(owner, rules=[rule("cost_above", amount=2), rule("loss_above", threshold="x")])
        assert [error.field for error in refused.value.errors] == ["rules.1.parameters.threshold"]
        with pytest.raises(InvalidInput, match="at most 20"):
            make_job(owner, rules=[rule("loss_not_finite")] * 21)

    def test_trying_again_takes_the_rules_along_as_they_are_now(self):
        job = make_job(make_user(), start=True)
        nan = job.rules.get(kind="loss_not_finite")
        rulebook.change(nan.pk, 1, {"action": "notify"})
        Rule.objects.filter(pk=nan.pk).update(fired_at=Now(), saw="loss NaN at step 2")
        Job.objects.filter(pk=job.pk).update(
            status="failed", reason="training_error", completed_at=Now(), final_cost=0, next_check_at=None
        )
        job.refresh_from_db()
        again = retry_job(job)
        assert [(one.kind, one.action, one.fired_at) for one in again.rules.all()] == [
            ("loss_not_finite", "notify", None), ("no_progress", "notify", None),
        ]  # fmt: skip
        assert made_with(again)["rules"] == made_with(job)["rules"]


class TestEditing:
    def test_two_tabs_do_not_lose_an_edit_silently(self):
        job, _ = running(rule("loss_above", threshold=5))
        first = only(job)
        rulebook.change(first.pk, first.version, {"parameters": {"threshold": 4}})
        with pytest.raises(rulebook.Stale) as refused:
            rulebook.change(first.pk, first.version, {"action": "stop"})
        assert (refused.value.current.version, refused.value.current.parameters["threshold"]) == (2, 4.0)
        with pytest.raises(rulebook.Stale):
            rulebook.remove(first.pk, first.version)
        assert only(job).action == "notify"

    def test_a_changed_rule_is_armed_again(self):
        job, attempt = running(rule("loss_above", threshold=5, after_step=0))
        log(attempt, {"step": 1, "loss": 6})
        ruling.judge_due()
        found = rulebook.change(only(job).pk, 1, {"parameters": {"threshold": 7, "after_step": 0}})
        assert (found.fired_at, found.saw, rulebook.state_of(found)) == (None, "", "armed")
        log(attempt, {"step": 2, "loss": 8})
        assert ruling.judge_due() == 1

    def test_every_change_is_an_event(self):
        job, _ = running()
        added = rulebook.add(job.pk, rule("loss_above", threshold=5, after_step=0), actor="ada")
        rulebook.change(added.pk, 1, {"enabled": False}, actor="ada")
        rulebook.remove(added.pk, 2, actor="ada")
        told = job.events.filter(kind=EventType.RULE).values_list("message", "actor")
        assert list(told) == [
            ("New rule: Tell me when loss is above 5.", "ada"),
            ("Rule switched off: Tell me when loss is above 5.", "ada"),
            ("Rule deleted: Tell me when loss is above 5.", "ada"),
        ]

    def test_what_everybody_has_is_switched_off_instead_of_deleted(self):
        nan, _ = rulebook.defaults_of(make_user())
        with pytest.raises(Conflict, match="Switch it off"):
            rulebook.remove(nan.pk, nan.version)
        with pytest.raises(Conflict, match="keeps its kind"):
            rulebook.change(nan.pk, nan.version, {"kind": "cost_above"})

    def test_an_ended_job_keeps_its_rules_as_they_were(self):
        job, _ = running(rule("loss_not_finite", "stop"))
        Job.objects.filter(pk=job.pk).update(
            status="failed", reason="training_error", completed_at=Now(), final_cost=0, next_check_at=None
        )
        assert rulebook.state_of(only(job)) == "over"
        for change in (
            lambda: rulebook.add(job.pk, rule("loss_not_finite")),
            lambda: rulebook.change(only(job).pk, 1, {"enabled": False}),
            lambda: rulebook.arm(only(job).pk),
            lambda: rulebook.remove(only(job).pk, 1),
        ):
            with pytest.raises(Conflict, match="has ended"):
                change()

    def test_there_is_an_end_to_adding(self):
        job, _ = running(*[rule("loss_not_finite")] * 20)
        with pytest.raises(Conflict, match="20 rules"):
            rulebook.add(job.pk, rule("loss_not_finite"))
        owner = make_user()
        for _ in range(18):
            rulebook.add_default(owner, rule("loss_not_finite"))
        with pytest.raises(Conflict, match="20 default rules"):
            rulebook.add_default(owner, rule("loss_not_finite"))
