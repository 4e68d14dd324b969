"""The same thing done by many at the same moment, on real connections and real commits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from django.db import connection

from pipeline.models import JobEvent
from pipeline.services import observation, stopping, submission
from pipeline.services.errors import Conflict
from pipeline.services.jobs import delete_job, request_cancel
from pipeline.states import JobStatus
from tests.chaos.scenarios.world import World

T = TypeVar("T")
pytestmark = pytest.mark.django_db(transaction=True)


def at_once(times: int, work: Callable[[], T]) -> list[T]:
    def run(_: int) -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(times)))


@pytest.mark.scenario(8, "I1 I10")
def test_eight_workers_and_every_wake_up_doubled_make_one_machine_a_job(world: World) -> None:
    jobs = [world.start() for _ in range(3)]

    def work() -> None:
        submission.submit_due()
        observation.poll_due()
        stopping.stop_due()
        for job in jobs:
            submission.submit(job.pk)
            observation.poll(job.pk)

    at_once(16, work)
    assert [world.created(job) for job in jobs] == [1, 1, 1]
    assert world.posts() == 3
    for job in jobs:
        request_cancel(job.pk)
    at_once(16, work)
    world.at_rest()
    assert world.posts() == 3


@pytest.mark.scenario(33, "I3 I4")
def test_a_hundred_cancels_and_deletes_at_once_order_one_stop(world: World) -> None:
    job, _, _ = world.rented()

    def cancel() -> bool:
        with pytest.raises(Conflict, match="Cancel it first"):
            delete_job(job.pk)
        return request_cancel(job.pk)

    ordered = at_once(100, cancel)
    assert ordered.count(True) == 1
    assert JobEvent.objects.filter(job=job, data__to="cancelling").count() == 1
    world.at_rest()
    assert world.fresh(job).status == JobStatus.CANCELLED
