from __future__ import annotations

from typing import Any

import pytest

from pipeline import ingest
from tests.factories import make_running_job
from tests.pipeline.live.page import View

pytestmark = pytest.mark.django_db


def test_catching_up_gives_the_frame_of_the_socket(owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    for step in range(3):
        ingest.record_metrics(attempt.pk, [{"step": step, "loss": float("nan") if step == 1 else 1.0}])
    answer = owner.api.get(f"/api/jobs/{job.pk}/live/", {"after": 1})
    assert answer.status_code == 200
    frame = answer.json()
    assert (frame["t"], frame["after"], frame["seq"], frame["more"]) == ("job", 1, 3, False)
    assert frame["metrics"] == {"step": [1, 2], "loss": [None, 1.0]}
    assert frame["nonfinite"] == [{"step": 1, "name": "loss", "value": "NaN"}]
    assert owner.api.get(f"/api/jobs/{job.pk}/live/").json()["after"] == 0


def test_history_and_the_frames_after_it_join(owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    ingest.record_metrics(attempt.pk, [{"step": step, "loss": 1.0, "mine": 2.0} for step in range(50)])
    history = owner.api.get(f"/api/jobs/{job.pk}/metrics/", {"points": 20, "names": "loss, eval_loss"}).json()
    assert set(history["series"]) == {"loss"}
    assert len(history["series"]["loss"]["step"]) == 20
    assert history["downsampled"] is True
    ingest.record_metrics(attempt.pk, [{"step": 50, "loss": 1.0}])
    view = View(history["seq"])
    view.take(owner.api.get(f"/api/jobs/{job.pk}/live/", {"after": history["seq"]}).json())
    assert set(view.points) == {50}
    part = owner.api.get(f"/api/jobs/{job.pk}/metrics/", {"from": 10, "to": 12}).json()
    assert part["series"]["mine"]["step"] == [10, 11, 12]
    assert part["total_steps_stored"] == 51


@pytest.mark.parametrize("address", ["live", "metrics"])
def test_only_the_owner_sees_anything(owner: Any, stranger: Any, signed_out: Any, address: str) -> None:
    job, _, _ = make_running_job(owner.user)
    answers = [person.api.get(f"/api/jobs/{job.pk}/{address}/").status_code for person in (owner, stranger, signed_out)]
    assert answers in ([200, 404, 401], [200, 404, 403])


@pytest.mark.parametrize(
    ("address", "parameters", "field"),
    [
        ("live", {"after": "x"}, "after"),
        ("live", {"after": -1}, "after"),
        ("live", {"after": 10**30}, "after"),
        ("metrics", {"points": 1}, "points"),
        ("metrics", {"points": 10**9}, "points"),
        ("metrics", {"from": "soon"}, "from"),
        ("metrics", {"to": 10**30}, "to"),
        ("metrics", {"from": 5, "to": 4}, "from"),
        ("metrics", {"names": ",".join(f"n{i}" for i in range(200))}, "names"),
    ],
)
def test_a_wrong_parameter_is_named(owner: Any, address: str, parameters: dict[str, Any], field: str) -> None:
    job, _, _ = make_running_job(owner.user)
    answer = owner.api.get(f"/api/jobs/{job.pk}/{address}/", parameters)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_name_nobody_has_is_no_mistake(owner: Any) -> None:
    job, _, _ = make_running_job(owner.user)
    answer = owner.api.get(f"/api/jobs/{job.pk}/metrics/", {"names": "'; DROP TABLE pipeline_job; --"})
    assert answer.json()["series"] == {}
