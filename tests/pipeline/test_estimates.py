"""What a job will take, and how sure that is: measured where jobs of its kind have ended, rough, or nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from pipeline import estimates
from pipeline.models import Attempt, Job
from tests.factories import make_dataset, make_job, make_running_job, make_user
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


def finished(owner: Any, trained: float, billed: float, **fields: Any) -> Job:
    """A job of the same kind that took `trained` seconds of training in `billed` seconds of machine."""
    like = draft(owner, **fields)
    now = timezone.now()
    job, attempt, _ = make_running_job(
        owner, status="completed", reason="completed", completed_at=now, final_cost=0, next_check_at=None,
        price_per_hour=like.price_per_hour, current_metrics={"elapsed_seconds": trained},
    )  # fmt: skip
    Job.objects.filter(pk=job.pk).update(
        base_model=like.base_model, hyperparameters=like.hyperparameters, dataset=like.dataset
    )
    Attempt.objects.filter(pk=attempt.pk).update(
        state="gone", reason="completed", gone_evidence="x", gone_at=now,
        machine_seen_at=now - timedelta(seconds=billed),
    )  # fmt: skip
    return job


@pytest.mark.django_db
class TestMeasured:
    def test_pace_and_the_time_around_it_come_from_finished_jobs(self) -> None:
        owner = make_user()
        finished(make_user(), trained=100, billed=160)
        told = estimates.estimate(draft(owner, rows=1000))
        assert (told.hours, told.total, told.confidence) == (D("0.2944"), D("1.06"), "measured")
        assert told.basis == "From 1 finished job with a model of this size, this machine and this quantization."

    def test_the_median_counts_so_that_one_odd_job_changes_little(self) -> None:
        owner = make_user()
        for trained in (90, 100, 5000):
            finished(owner, trained, trained + 60)
        assert estimates.estimate(draft(owner)).total == D("0.16")

    @pytest.mark.parametrize(
        "other",
        [
            {"base_model": "Qwen/Qwen2.5-0.5B-Instruct"},
            {"hyperparameters": {"quantization": "4bit"}},
            {"hyperparameters": {"packing": True}},
            {"tokens": None},
        ],
    )
    def test_jobs_of_another_kind_teach_nothing(self, other: Any) -> None:
        owner = make_user()
        finished(owner, 100, 160, **other)
        assert estimates.estimate(draft(owner)).confidence == "none"

    def test_a_model_of_about_the_same_size_does(self) -> None:
        owner = make_user()
        finished(owner, 100, 160, base_model="mistralai/Mistral-7B-Instruct-v0.3")
        assert estimates.estimate(draft(owner)).confidence == "measured"

    def test_jobs_that_needed_two_attempts_or_failed_teach_nothing(self) -> None:
        owner = make_user()
        Attempt.objects.filter(job=finished(owner, 100, 160)).update(n=2)
        Job.objects.filter(pk=finished(owner, 100, 160).pk).update(status="failed")
        assert estimates.estimate(draft(owner)).confidence == "none"

    def test_steps_limit_the_work_and_the_maximum_duration_limits_the_time(self) -> None:
        owner = make_user()
        finished(owner, 100, 100)
        steps = draft(owner, rows=10**6, hyperparameters={"max_steps": 25})  # 25 steps of 8 rows
        assert estimates.estimate(steps).total == D("0.2")
        endless = estimates.estimate(draft(owner, rows=10**6, max_duration=3600))
        assert endless.total == D("3.6")
        assert endless.basis.endswith("It ends at its maximum duration before that.")


@pytest.mark.django_db
class TestRough:
    def test_from_the_size_of_the_model_and_the_class_of_the_gpu(self) -> None:
        told = estimates.estimate(draft(make_user(), rows=10_000, gpu_type="NVIDIA H100 80GB HBM3"))
        assert told.confidence == "rough"
        assert told.hours is not None
        assert D("0.18") < told.hours < D("0.25")
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


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("someone/llama-13B", 13e9),
        ("someone/tiny-125m", 125e6),
        ("someone/mixtral-8x7b", None),
        ("someone/bert-base", None),
    ],
)
def test_parameters(model: str, parameters: float | None) -> None:
    assert estimates.parameters_of(model) == parameters


@pytest.mark.django_db
def test_a_job_keeps_what_was_said_when_it_was_made(world: World) -> None:
    owner = make_user()
    dataset = make_dataset(owner, report={"tokens": {"mean": 100}})
    finished(
        owner, 100, 160, base_model="HuggingFaceTB/SmolLM2-135M-Instruct", hyperparameters={"num_train_epochs": 3.0}
    )
    job = make_job(owner, dataset=dataset)
    assert job.estimated_cost == D("0.16")
    assert job.estimate["confidence"] == "measured"
    assert job.current_cost == 0
