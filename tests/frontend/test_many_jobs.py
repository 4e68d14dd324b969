"""The list of jobs narrowed and selected from, and the page that compares some of them."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from pipeline.models import Artifact, Job
from pipeline.states import JobStatus
from tests.conftest import Person
from tests.factories import make_dataset, make_running_job
from tests.frontend.test_pages import make_ended_job, make_job, text_of


def names_in(page: str) -> list[str]:
    return re.findall(r'class="job-link truncate" href="[^"]+">([^<]+)<', page)


class TestFilters:
    @pytest.fixture(autouse=True)
    def jobs(self, owner: Person, stranger: Person) -> None:
        colours = make_dataset(owner.user, name="colours")
        make_job(owner, "old", provider="runpod", gpu_type="a", dataset=colours)
        Job.objects.update(created_at=datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
        make_job(owner, "new", base_model="org/other")
        make_job(stranger, "theirs", provider="elsewhere", base_model="their/model")

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ("provider=runpod", ["old"]), ("model=org/other", ["new"]), ("to=2026-03-01", ["old"]),
            ("from=2026-03-02", ["new"]), ("from=2026-03-01&to=2026-03-01", ["old"]), ("provider=nowhere", []),
            ("dataset=x&from=2026-02-31&to=99999-01-01&model=%00", ["new", "old"]),
            ("provider=runpod&status=pending&q=OLD", ["old"]), ("provider=runpod&q=new", []),
        ],
    )  # fmt: skip
    def test_the_list_is_narrowed(self, owner: Person, query: str, names: list[str]) -> None:
        assert names_in(text_of(owner.browser.get(f"/jobs/?{query}"))) == names

    def test_by_dataset(self, owner: Person) -> None:
        dataset = Job.objects.get(name="old").dataset_id
        page = text_of(owner.browser.get(f"/jobs/?dataset={dataset}"))
        assert names_in(page) == ["old"]
        assert re.search(rf'value="{dataset}" selected>colours', page)

    def test_only_what_ones_own_jobs_have_is_offered(self, owner: Person) -> None:
        page = text_of(owner.browser.get("/jobs/"))
        assert 'value="runpod"' in page
        assert "elsewhere" not in page
        assert "their/model" not in page

    def test_the_chips_count_what_passes(self, owner: Person) -> None:
        page = text_of(owner.browser.get("/jobs/?provider=runpod"))
        assert re.search(r'Saved <span class="n">1<', page)

    def test_what_passes_nothing_says_so(self, owner: Person) -> None:
        page = text_of(owner.browser.get("/jobs/?provider=nowhere&status=failed"))
        assert "No failed job passes the filters" in page
        assert "Take one of the filters away" in page

    def test_the_file_has_the_same_jobs(self, owner: Person) -> None:
        page = text_of(owner.browser.get("/jobs/?provider=runpod&status=pending&sort=name&to=2026-03-01"))
        link = re.search(r'href="(/api/jobs\.csv\?[^"]+)"', page)
        assert link
        answer = owner.browser.get(link.group(1).replace("&amp;", "&"))
        rows = b"".join(answer.streaming_content).decode().splitlines()
        assert [row.split(",")[1] for row in rows] == ["name", "old"]


def test_a_row_says_in_words_what_is_odd_about_its_job(owner: Person) -> None:
    job, attempt, _ = make_running_job(owner.user, provider="local", cost_limit="5", max_attempts=3)
    type(attempt).objects.filter(pk=attempt.pk).update(n=2)
    Job.objects.filter(pk=job.pk).update(status=JobStatus.CANCELLING, current_stage="still_billed", desired="stop",
        stop_reason="cancelled_by_user", stop_requested_at=datetime.now(UTC))  # fmt: skip
    page = text_of(owner.browser.get("/jobs/"))
    assert "Stopping, still billed, attempt 2 of 3" in page
    assert "limit $5.00" in page
    Job.objects.filter(pk=job.pk).update(status=JobStatus.INITIALIZING, current_stage="create_unknown", desired="run",
        stop_reason="", stop_requested_at=None)  # fmt: skip
    assert "Unclear whether a machine exists" in text_of(owner.browser.get("/jobs/"))


def test_every_row_can_be_selected_by_name(owner: Person) -> None:
    make_job(owner, "mine")
    page = text_of(owner.browser.get("/jobs/"))
    assert 'data-pick><span class="visually-hidden">Select mine</span>' in page
    assert 'id="pick-all"' in page


# ---- compare


def compare(person: Person, *jobs: Any) -> Any:
    return person.browser.get("/jobs/compare/?ids=" + ",".join(str(getattr(job, "pk", job)) for job in jobs))


class TestCompare:
    def test_jobs_stand_beside_each_other_in_the_order_of_the_address(self, owner: Person) -> None:
        dataset = make_dataset(owner.user)
        first, second = make_job(owner, "one", dataset=dataset), make_job(owner, "two", dataset=dataset)
        Job.objects.filter(pk=second.pk).update(hyperparameters={**second.hyperparameters, "r": 77})
        page = text_of(compare(owner, second, first))
        data = re.search(r'<script id="compare-data" type="application/json">(.*?)</script>', page)
        assert data
        assert [(job["name"], job["letter"]) for job in json.loads(data.group(1))["jobs"]] == [
            ("two", "A"),
            ("one", "B"),
        ]
        differing = re.findall(r'<tr +><th scope="row">([^<]+)</th><td>([^<]+)</td><td>([^<]+)</td>', page)
        assert differing == [("Rank (r)", "77", str(first.hyperparameters["r"]))]
        assert re.search(r'<tr data-same><th scope="row">Learning rate</th>', page)

    def test_others_jobs_and_nonsense_do_not_exist(self, owner: Person, stranger: Person) -> None:
        mine, theirs = make_job(owner), make_job(stranger)
        assert compare(owner, mine).status_code == 200
        assert compare(owner, mine, theirs).status_code == 404
        assert compare(owner, mine, uuid4()).status_code == 404
        assert compare(owner, "nonsense").status_code == 404
        assert compare(stranger, mine).status_code == 404

    def test_a_ninth_job_is_left_out_and_told(self, owner: Person) -> None:
        page = text_of(compare(owner, *(make_job(owner, f"job {n}") for n in range(9))))
        assert page.count('class="compare-job"') == 8
        assert "The first 8 are shown; 1 is left out." in page

    def test_without_jobs_one_can_be_chosen(self, owner: Person, stranger: Person) -> None:
        assert "There is nothing to compare yet" in text_of(owner.browser.get("/jobs/compare/"))
        make_running_job(stranger.user)
        job, *_ = make_running_job(owner.user)
        page = text_of(owner.browser.get("/jobs/compare/"))
        assert re.findall(r'<option value="([^"]+)"', page) == [str(job.pk)]

    def test_a_job_is_added_once(self, owner: Person) -> None:
        first, second = make_job(owner), make_job(owner)
        for ids in (first.pk, f"{first.pk},{second.pk}"):
            answer = owner.browser.get(f"/jobs/compare/?ids={ids}&add={second.pk}")
            assert answer["Location"] == f"/jobs/compare/?ids={first.pk},{second.pk}"

    def test_how_each_ended(self, owner: Person) -> None:
        failed = make_ended_job(owner, "broken", JobStatus.FAILED, "out_of_memory")
        done = make_ended_job(owner, "done", JobStatus.COMPLETED, "completed")
        page = text_of(compare(owner, failed, done))
        assert "Failed: The machine ran out of memory." in page
        assert 'data-r="ended">Completed<' in page
        assert page.count("$0.0931") == 2

    def test_eight_jobs_cost_as_many_queries_as_one(self, owner: Person, django_assert_max_num_queries: Any) -> None:
        jobs = [make_running_job(owner.user)[0] for _ in range(8)]
        assert not Artifact.objects.exists()
        with django_assert_max_num_queries(7):
            compare(owner, *jobs)
