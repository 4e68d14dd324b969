"""Every page as its owner, a stranger and somebody signed out see it."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from pipeline.models import ApiToken, Job, Preset
from pipeline.states import JobStatus
from tests.conftest import Person
from tests.factories import make_dataset, make_running_job


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def make_job(person: Person, name: str = "first", **fields: Any) -> Job:
    """A saved job, written as a row: no provider is asked for its offers."""
    from training.hyperparameters import defaults

    dataset = fields.pop("dataset", None) or make_dataset(person.user)
    values = {"base_model": "org/model", "hyperparameters": defaults(), "provider": "local", "gpu_type": "cpu"}
    return Job.objects.create(owner=person.user, name=name, dataset=dataset, **(values | fields))


def make_ended_job(person: Person, name: str, status: JobStatus, reason: str, **fields: Any) -> Job:
    return make_job(
        person,
        name,
        status=status,
        reason=reason,
        current_stage="ended",
        completed_at=timezone.now(),
        final_cost=Decimal("0.0931"),
        **fields,
    )


def test_home_leads_to_the_jobs(owner: Person) -> None:
    assert owner.browser.get("/")["Location"] == "/jobs/"


# ---- the list of jobs


def test_a_newcomer_is_led_to_the_upload(owner: Person) -> None:
    page = text_of(owner.browser.get("/jobs/"))
    assert "Light the first fire" in page
    assert 'href="/datasets/new/"' in page


def test_somebody_with_a_dataset_is_led_to_the_form(owner: Person) -> None:
    make_dataset(owner.user)
    page = text_of(owner.browser.get("/jobs/"))
    assert "Your dataset is checked and ready" in page


def test_the_list_shows_own_jobs_only(owner: Person, stranger: Person) -> None:
    make_job(owner, "mine alone")
    assert "mine alone" in text_of(owner.browser.get("/jobs/"))
    assert "mine alone" not in text_of(stranger.browser.get("/jobs/"))


def test_the_list_is_filtered_searched_and_counted(owner: Person) -> None:
    make_job(owner, "saved one")
    make_ended_job(owner, "broken one", JobStatus.FAILED, "out_of_memory")
    page = text_of(owner.browser.get("/jobs/?status=failed"))
    assert "broken one" in page
    assert "saved one" not in page
    assert re.search(r'aria-current="true">Failed <span class="n">1<', page)
    page = text_of(owner.browser.get("/jobs/?q=SAVED"))
    assert "saved one" in page
    assert "broken one" not in page
    assert "No job matches" in text_of(owner.browser.get("/jobs/?q=nothing-of-the-kind"))
    assert "Nothing is running" in text_of(owner.browser.get("/jobs/?status=active"))


@pytest.mark.parametrize("query", ["status=x", "sort=owner__password", "page=99", "page=x", "q=%00"])
def test_the_list_bears_any_query(owner: Person, query: str) -> None:
    make_job(owner)
    assert owner.browser.get(f"/jobs/?{query}").status_code == 200


def test_the_fragment_is_only_the_list(owner: Person) -> None:
    make_job(owner, "first")
    page = text_of(owner.browser.get("/jobs/", headers={"X-Fragment": "1"}))
    assert "first" in page
    assert "<html" not in page


def test_the_list_costs_the_same_queries_for_one_job_as_for_many(
    owner: Person, django_assert_max_num_queries: Any
) -> None:
    for _ in range(12):
        make_running_job(owner.user, provider="local")
    with django_assert_max_num_queries(9):
        owner.browser.get("/jobs/")


# ---- the page of a job


def test_a_job_is_its_owners_alone(owner: Person, stranger: Person, signed_out: Person) -> None:
    job = make_job(owner)
    assert owner.browser.get(f"/jobs/{job.pk}/").status_code == 200
    assert stranger.browser.get(f"/jobs/{job.pk}/").status_code == 404
    assert signed_out.browser.get(f"/jobs/{job.pk}/").status_code == 302
    assert owner.browser.get(f"/jobs/{uuid4()}/").status_code == 404


def test_a_saved_job_can_be_started_and_not_cancelled(owner: Person) -> None:
    page = text_of(owner.browser.get(f"/jobs/{make_job(owner).pk}/"))
    assert re.search(r'id="start" *>', page)
    assert re.search(r'id="cancel" hidden>', page)
    assert re.search(r'id="end-banner" data-end="pending" hidden', page)


def test_a_running_job_can_be_cancelled(owner: Person) -> None:
    job, _, _ = make_running_job(owner.user, provider="local")
    page = text_of(owner.browser.get(f"/jobs/{job.pk}/"))
    assert re.search(r'id="start" hidden>', page)
    assert re.search(r'id="cancel" *>', page)


def test_a_failed_job_says_what_happened(owner: Person) -> None:
    job = make_ended_job(
        owner,
        "broken",
        JobStatus.FAILED,
        "out_of_memory",
        error_message="CUDA out of memory.",
        error_stack="Traceback: here",
    )
    page = text_of(owner.browser.get(f"/jobs/{job.pk}/"))
    for words in ("The machine ran out of memory.", "CUDA out of memory.", "Traceback: here", "Final cost", "$0.0931"):
        assert words in page


def test_the_job_travels_to_the_script_as_data(owner: Person) -> None:
    job = make_job(owner, "</script><script>alert(1)</script>")
    page = owner.browser.get(f"/jobs/{job.pk}/").content.decode()
    found = re.search(r'<script id="job-data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found
    assert json.loads(found.group(1))["name"] == "</script><script>alert(1)</script>"
    assert "<script>alert" not in page


def test_the_configuration_marks_what_the_preset_does_not_say(owner: Person) -> None:
    preset = Preset.objects.get(slug="balanced")
    job = make_job(owner, preset=preset)
    Job.objects.filter(pk=job.pk).update(hyperparameters={**job.hyperparameters, **preset.hyperparameters, "r": 77})
    page = text_of(owner.browser.get(f"/jobs/{job.pk}/"))
    assert "with 1 value of your own" in page
    assert re.search(r"77</span>.{0,80}tag-changed", page)


# ---- the form of a new job


def test_the_form_offers_ready_datasets_and_says_why_others_are_not(owner: Person, stranger: Person) -> None:
    make_dataset(owner.user, name="good rows")
    make_dataset(owner.user, name="bad rows", status="rejected", training_ready=False)
    make_dataset(stranger.user, name="not mine")
    page = text_of(owner.browser.get("/jobs/new/"))
    assert re.search(r'<option value="[0-9a-f-]+" selected>good rows \(100 rows\)', page)
    assert re.search(r"disabled>bad rows \(not usable", page)
    assert "not mine" not in page


def test_the_form_chooses_a_dataset_only_where_there_is_no_choice(owner: Person) -> None:
    make_dataset(owner.user, name="one")
    make_dataset(owner.user, name="another")
    page = text_of(owner.browser.get("/jobs/new/"))
    assert re.search(r'<option value="[0-9a-f-]+" *>one \(100 rows\)', page)
    assert re.search(r'<option value="[0-9a-f-]+" *>another \(100 rows\)', page)


def test_the_form_without_data_leads_to_the_upload(owner: Person) -> None:
    assert "No dataset is ready to train on." in text_of(owner.browser.get("/jobs/new/"))


def test_the_form_takes_a_dataset_from_the_address(owner: Person) -> None:
    dataset = make_dataset(owner.user)
    assert re.search(rf'value="{dataset.pk}" selected', text_of(owner.browser.get(f"/jobs/new/?dataset={dataset.pk}")))


def test_a_clone_takes_everything_over_from_an_own_job_only(owner: Person, stranger: Person) -> None:
    job = make_job(owner, "original", budget_limit=Decimal("7.50"), max_duration=5400, priority=5)
    Job.objects.filter(pk=job.pk).update(hyperparameters={**job.hyperparameters, "r": 77})
    page = text_of(owner.browser.get(f"/jobs/new/?clone={job.pk}"))
    for words in ('value="original (copy)"', 'value="7.50"', 'value="1.5"', 'id="h-r" value="77"', 'value="org/model"'):
        assert words in page
    assert "original" not in text_of(stranger.browser.get(f"/jobs/new/?clone={job.pk}"))
    assert owner.browser.get("/jobs/new/?clone=nonsense").status_code == 200


# ---- settings, favicon, errors


def test_settings_list_own_tokens(owner: Person, stranger: Person) -> None:
    ApiToken.objects.create(owner=owner.user, name="my laptop", token_hash="a" * 64, hint="wxyz")
    assert "my laptop" in text_of(owner.browser.get("/settings/"))
    assert "my laptop" not in text_of(stranger.browser.get("/settings/"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "<rect"),
        ("?progress=50", "44.0 88.0"),
        ("?progress=999", "88.0 88.0"),
        ("?progress=-1", "<rect"),
        ("?progress=100&state=failed", "#dc2626"),
    ],
)
def test_the_favicon_shows_progress(client: Client, query: str, words: str) -> None:
    answer = client.get(f"/favicon.svg{query}")
    assert answer["Content-Type"] == "image/svg+xml"
    assert words in answer.content.decode()


def test_an_unknown_address_is_answered_kindly(owner: Person, signed_out: Person) -> None:
    for person in (owner, signed_out):
        answer = person.browser.get("/nothing/here/")
        assert answer.status_code == 404
        assert "There is nothing here" in text_of(answer)


def test_a_form_without_its_token_is_answered_kindly(db: None) -> None:
    answer = Client(enforce_csrf_checks=True).post("/sign-in/", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "This form has expired" in text_of(answer)


@pytest.mark.parametrize(
    ("view", "words"), [("server_error", "Something broke on our side"), ("bad_request", "not understood")]
)
def test_a_broken_page_needs_no_database(view: str, words: str) -> None:
    from django.test import RequestFactory
    from django.views import defaults

    request = RequestFactory().get("/jobs/")
    answer = getattr(defaults, view)(request, *([ValueError()] if view == "bad_request" else []))
    assert words in text_of(answer)


# ---- all pages


class Inline(HTMLParser):
    """Collects what the content policy would refuse: scripts and styles that stand in the page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or "style" in given or any(name.startswith("on") for name in given):
            self.found.append(str(self.get_starttag_text()))
        if tag == "script" and not given.get("src") and given.get("type") != "application/json":
            self.found.append(str(self.get_starttag_text()))
        if given.get("id"):
            self.ids.append(str(given["id"]))


def test_no_page_has_anything_inline_or_an_id_twice(owner: Person) -> None:
    job = make_ended_job(owner, "done", JobStatus.COMPLETED, "completed")
    paths = [
        "/jobs/",
        "/jobs/new/",
        f"/jobs/{job.pk}/",
        "/datasets/",
        "/datasets/new/",
        f"/datasets/{job.dataset_id}/",
        "/settings/",
        "/spending/",
        f"/jobs/compare/?ids={job.pk}",
        "/nope/",
    ]
    for path in paths:
        page = Inline()
        page.feed(owner.browser.get(path).content.decode())
        assert page.found == [], path
        assert len(page.ids) == len(set(page.ids)), path
