"""The page of a new job as the server makes it: what it knows before the browser has asked for machines."""

from __future__ import annotations

import json
import re
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from frontend import catalogue
from pipeline.models import Job, Preset
from tests.conftest import Person
from tests.factories import make_dataset, make_job

REPORT = {
    "tokens": {"total": 5000, "mean": 50, "median": 40, "max": 90, "histogram": [{"from": 0, "to": 64, "rows": 100}]},
    "duplicates": {"rows": 3, "share": 0.03, "first": [{"line": n, "same_as": 1} for n in range(500)]},
    "overlap": {"rows": 2, "share": 0.02, "with": "other", "first": []},
    "samples": ["a large thing" * 1000],
}


def page(person: Person, query: str = "") -> str:
    answer = person.browser.get(f"/jobs/new/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def form_data(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="form-data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found.group(1))
    return data


def checked_preset(text: str) -> list[str]:
    return re.findall(r'name="preset" value="([\w-]+)" checked', text)


def test_the_check_of_a_dataset_is_there_without_the_large_parts_of_its_report(owner: Person) -> None:
    dataset = make_dataset(owner.user, report=REPORT)
    text = page(owner)
    facts = form_data(text)["datasets"][str(dataset.pk)]
    assert facts["tokens"]["max"] == 90
    assert (facts["duplicates"], facts["overlap"]) == ({"rows": 3, "share": 0.03}, {"rows": 2})
    assert facts["url"] == f"/datasets/{dataset.pk}/"
    assert "a large thing" not in text


def test_a_dataset_that_was_never_checked_has_no_facts(owner: Person) -> None:
    dataset = make_dataset(owner.user, report={}, status="uploaded", training_ready=False)
    facts = form_data(page(owner))["datasets"][str(dataset.pk)]
    assert (facts["tokens"], facts["duplicates"], facts["overlap"]) == (None, None, None)


def test_every_value_is_on_the_page_once_the_basic_ones_first(owner: Person) -> None:
    text = page(owner)
    shown = re.findall(r'data-hyper="(\w+)"', text)
    assert sorted(shown) == sorted(field["name"] for field in form_data(text)["fields"])
    assert tuple(shown[1:10]) == catalogue.BASICS
    assert text.index('data-hyper="quantization"') < text.index('id="all-settings"') < text.index('data-hyper="seed"')
    assert f"{len(shown) - 10} more, with a good value each" in text


def test_limits_stand_beside_the_values(owner: Person) -> None:
    text = page(owner)
    assert re.search(r'id="d-learning_rate".*?1e-8 to 1\.', text)
    assert re.search(r'id="d-max_length".*?8 to 1,048,576\.', text)


def test_a_preset_shows_what_it_is(owner: Person) -> None:
    text = page(owner)
    for fact in ("40 steps", "rate 5e-4", "3 epochs", "rank 64", "2,048 tokens"):
        assert f"<span>{fact}</span>" in text
    assert checked_preset(text) == ["balanced"]


def test_a_preset_from_the_address(owner: Person) -> None:
    text = page(owner, "?preset=quick-test")
    assert checked_preset(text) == ["quick-test"]
    assert re.search(r'id="h-max_steps" value="40"', text)
    assert checked_preset(page(owner, "?preset=nonsense")) == ["balanced"]


def test_a_clone_keeps_the_machine_and_what_to_take_instead(owner: Person, stranger: Person) -> None:
    fallbacks = [{"type": "big", "cloud": "secure"}, {"type": "huge", "cloud": ""}]
    job = make_job(
        owner.user,
        provider="simulated",
        gpu_type="sim-60x",
        gpu_count=3,
        preset=Preset.objects.get(slug="high-quality"),
    )
    Job.objects.filter(pk=job.pk).update(gpu_fallbacks=fallbacks)
    text = page(owner, f"?clone={job.pk}&preset=quick-test")
    machine = form_data(text)["machine"]
    assert (machine["provider"], machine["type"], machine["fallbacks"]) == ("simulated", "sim-60x", fallbacks)
    assert checked_preset(text) == ["high-quality"]
    assert re.search(r'id="f-count"[^>]*value="3"', text)
    assert form_data(page(stranger, f"?clone={job.pk}"))["machine"] is None


def test_more_datasets_are_no_more_queries(owner: Person) -> None:
    make_dataset(owner.user, report=REPORT)
    with CaptureQueriesContext(connection) as few:
        page(owner)
    for _ in range(10):
        make_dataset(owner.user, report=REPORT)
    with CaptureQueriesContext(connection) as many:
        page(owner)
    assert len(many) == len(few)
