"""What a job will take, and how sure that is: measured where jobs of its kind have ended, rough, or nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from pipeline import estimates
from pipeline.models import Attempt, Job, MetricPoint
from pipeline.paces import LEARN_FROM, Place, Task
from tests.factories import make_attempt, make_dataset, make_job, make_running_job, make_user
from tests.fakes.provider import World
from training import hyperparameters

D = Decimal


def draft(owner: Any, tokens: int | None = 100, rows: int = 100, **fields: Any) -> Job:
    """A job that is not saved: 100 rows of 100 tokens, one epoch."""
    values = hyperparameters.defaults() | {"num_train_epochs": 1.0} | fields.pop("hyperparameters", {})
    dataset = make_dataset(owner, report={"tokens": {"mean": tokens}} if tokens else {}, total_training_pairs=rows)
    return Job(
        **(
            {"owner": owner, "dataset": dataset, "base_model": "Qwen/Qwen2.5-7B-Instruct", "hyperparameters": values}
            | {"provider": "scripted", "gpu_type": "box", "price_per_hour": D("3.60"), "max_duration": 86400}
            | fields
        )
    )


STEPS = 100


def ran(owner: Any, trained: float, billed: float, steps: int = STEPS, status: str = "completed", **fields: Any) -> Job:
    """A job that did `steps` of its 100 steps in `trained` seconds of training and `billed` seconds of machine."""
    like = draft(owner, **fields)
    now = timezone.now()
    job, attempt, _ = make_running_job(
        owner, status=status, reason="completed", completed_at=now, final_cost=0, next_check_at=None,
        price_per_hour=like.price_per_hour, total_steps=STEPS, gpu_type=like.gpu_type, gpu_count=like.gpu_count,
    )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(
        base_model=like.base_model, hyperparameters=like.hyperparameters, dataset=like.dataset
    )
    Attempt.objects.filter(pk=attempt.pk).update(
        state="gone", reason="completed", gone_evidence="x", gone_at=now,
        machine_seen_at=now - timedelta(seconds=billed),
    )  # fmt: skip
    MetricPoint.objects.bulk_create(
        MetricPoint(job=job, step=step, seq=step, attempt=1, at=now, elapsed_seconds=trained * step / steps)
        for step in (1, steps)
    )
    return job


@pytest.mark.django_db
class TestMeasured:
    def test_pace_and_the_time_around_it_come_from_earlier_jobs(self) -> None:
        owner = make_user()
        ran(make_user(), trained=100, billed=160)
        told = estimates.estimate(draft(owner, rows=1000))
        assert (told.hours, told.total, told.confidence) == (D("0.2944"), D("1.06"), "measured")
        assert told.basis == "From 1 earlier job with a model of this size, this machine and this quantization."

    def test_the_median_counts_so_that_one_odd_job_changes_little(self) -> None:
        owner = make_user()
        for trained in (90, 95, 100, 105, 5000):
            ran(owner, trained, trained + 60)
        told = estimates.estimate(draft(owner))
        assert told.total == D("0.16")

    def test_the_more_runs_agree_the_narrower_the_range(self) -> None:
        owner = make_user()
        widths = []
        for _ in range(4):
            ran(owner, 100, 100)
            told = estimates.estimate(draft(owner, rows=10_000))
            assert told.low_hours is not None
            assert told.high_hours is not None
            assert told.hours is not None
            assert told.low_hours < told.hours < told.high_hours
            widths.append(told.high_hours - told.low_hours)
        assert (told.confidence, told.runs) == ("measured", 4)
        assert widths == sorted(set(widths), reverse=True)

    def test_runs_that_differ_much_are_not_called_a_measurement(self) -> None:
        owner = make_user()
        for trained in (50, 100, 400):
            ran(owner, trained, trained + 60)
        told = estimates.estimate(draft(owner))
        assert told.confidence == "rough"
        assert "very different paces" in told.basis

    @pytest.mark.parametrize("status", ["cancelled", "failed"])
    def test_a_job_that_was_stopped_half_way_teaches_its_pace(self, status: str) -> None:
        owner = make_user()
        ran(owner, trained=50, billed=5000, steps=50, status=status)
        told = estimates.estimate(draft(owner, rows=1000))
        assert told.confidence == "measured"
        assert told.hours == D("0.4444")  # 1,000 seconds of training, and the usual time around it

    @pytest.mark.parametrize("other", [{"hyperparameters": {"packing": True}}, {"tokens": None}])
    def test_jobs_that_cannot_be_compared_teach_nothing(self, other: Any) -> None:
        owner = make_user()
        ran(owner, 100, 160, **other)
        assert estimates.estimate(draft(owner)).confidence == "none"

    def test_a_model_of_about_the_same_size_does(self) -> None:
        owner = make_user()
        ran(owner, 100, 160, base_model="mistralai/Mistral-7B-Instruct-v0.3")
        assert estimates.estimate(draft(owner)).confidence == "measured"

    def test_jobs_of_two_attempts_or_of_no_steps_or_still_running_teach_nothing(self) -> None:
        owner = make_user()
        make_attempt(ran(owner, 100, 160))
        MetricPoint.objects.filter(job=ran(owner, 100, 160), step=1).delete()
        Attempt.objects.filter(job=ran(owner, 100, 160)).update(gone_at=None, state="live", reason="", gone_evidence="")
        assert estimates.estimate(draft(owner)).confidence == "none"

    def test_imagined_seconds_are_not_taken_for_real_ones(self) -> None:
        owner = make_user()
        ran(owner, trained=6000, billed=100)
        assert estimates.estimate(draft(owner)).hours == D("0.0278")

    def test_steps_limit_the_work_and_the_maximum_duration_limits_the_time(self) -> None:
        owner = make_user()
        ran(owner, 100, 100)
        steps = draft(owner, rows=10**6, hyperparameters={"max_steps": 25})  # 25 steps of 8 rows
        assert estimates.estimate(steps).total == D("0.2")
        endless = estimates.estimate(draft(owner, rows=10**6, max_duration=3600))
        assert (endless.total, endless.high_hours) == (D("3.6"), D(1))
        assert endless.basis.endswith("It ends at its maximum duration before that.")

    def test_only_the_newest_jobs_of_each_machine_count(self) -> None:
        owner = make_user()
        ran(owner, 100, 160, gpu_type="other")
        for n in range(LEARN_FROM + 5):
            job = ran(owner, 1000 if n < 5 else 100, 1060)
            Job.objects.filter(pk=job.pk).update(completed_at=timezone.now() - timedelta(hours=100 - n))
        assert estimates.estimate(draft(owner)).runs == LEARN_FROM
        assert estimates.estimate(draft(owner, gpu_type="other")).runs == 1


@pytest.mark.django_db
class TestScaled:
    """Other jobs on the same kind of machine, a little further away."""

    @pytest.mark.parametrize(
        ("other", "hours"),
        [
            ({"base_model": "someone/half-3.8B"}, 2.004),
            ({"hyperparameters": {"quantization": "4bit"}}, 1 / 1.4),
            ({"gpu_count": 2}, 2.0),
        ],
    )
    def test_is_reckoned_from_them_and_called_rough(self, other: Any, hours: float) -> None:
        owner = make_user()
        ran(owner, 3600, 3600, **other)
        told = estimates.estimate(draft(owner))
        assert told.confidence == "rough"
        assert float(told.hours or 0) == pytest.approx(hours, rel=0.001)
        assert "from 1 earlier job on this machine with another model or other settings" in told.basis

    @pytest.mark.parametrize("other", ["Qwen/Qwen2.5-0.5B-Instruct", "someone/unknown"])
    def test_what_is_too_far_away_is_not(self, other: str) -> None:
        owner = make_user()
        ran(owner, 100, 160, base_model=other)
        assert estimates.estimate(draft(owner)).confidence == "none"


@pytest.mark.django_db
class TestRough:
    def test_from_the_size_of_the_model_and_the_class_of_the_gpu(self) -> None:
        told = estimates.estimate(draft(make_user(), rows=10_000, gpu_type="NVIDIA H100 80GB HBM3"))
        assert told.confidence == "rough"
        assert told.hours is not None
        assert told.low_hours is not None
        assert told.high_hours is not None
        assert D("0.18") < told.hours < D("0.25")
        assert told.low_hours * 2 == pytest.approx(told.hours) == told.high_hours / 2
        assert "7.62 billion parameters and about 1,000,000 tokens" in told.basis

    def test_nothing_is_said_where_nothing_is_known(self) -> None:
        owner = make_user()
        for unknown in (
            {"gpu_type": "box"}, {"gpu_type": "H100", "base_model": "some/model"}, {"gpu_type": "H100", "tokens": None},
        ):  # fmt: skip
            told = estimates.estimate(draft(owner, **unknown))
            assert (told.hours, told.total, told.confidence) == (None, None, "none")

    def test_a_free_machine_costs_nothing_however_long_it_takes(self) -> None:
        assert estimates.estimate(draft(make_user(), price_per_hour=D(0))).total == 0


@pytest.mark.django_db
def test_many_machines_are_one_question(django_assert_num_queries: Any) -> None:
    owner = make_user()
    for kind in ("box", "big"):
        ran(owner, 100, 160, gpu_type=kind)
    task = Task.of(draft(owner))
    places = [Place("scripted", kind, n) for kind in ("box", "big", "none") for n in (1, 2)]
    with django_assert_num_queries(1):
        estimator = estimates.Estimator(task, places)
        told = [estimator.at(place, D(1), 3600).confidence for place in places]
    assert told == ["measured", "rough", "measured", "rough", "none", "none"]


@pytest.mark.django_db
def test_a_job_keeps_what_was_said_when_it_was_made(world: World) -> None:
    owner = make_user()
    dataset = make_dataset(owner, report={"tokens": {"mean": 100}})
    ran(owner, 100, 160, base_model="HuggingFaceTB/SmolLM2-135M-Instruct", hyperparameters={"num_train_epochs": 3.0})
    job = make_job(owner, dataset=dataset)
    assert job.estimated_cost == D("0.16")
    assert job.estimate["confidence"] == "measured"
    assert job.current_cost == 0
