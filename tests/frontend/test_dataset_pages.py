from __future__ import annotations

import re
from typing import Any

from frontend.reports import bars
from tests.conftest import Person
from tests.factories import make_dataset

REPORT: dict[str, Any] = {
    "version": 1,
    "format": "messages",
    "rows": 120,
    "good_rows": 118,
    "training_pairs": 118,
    "errors": {
        "total": 2,
        "by_code": {"not_json": 2},
        "first": [{"line": 7, "code": "not_json", "message": "The line is not JSON.", "field": "", "column": 3}],
    },
    "warnings": [{"code": "duplicates", "message": "3 rows repeat an earlier row."}],
    "roles": {"user": 118},
    "tokens": {
        "total": 40000,
        "mean": 340,
        "median": 320,
        "max": 900,
        "histogram": [{"from": 0, "to": 64, "rows": 18}, {"from": 64, "to": None, "rows": 100}],
        "truncation": [{"max_length": 512, "rows": 4, "share": 0.0339, "tokens_cut_share": 0.01}],
        "suggested_max_length": 512,
    },
    "duplicates": {"rows": 3, "share": 0.025, "first": [{"line": 9, "same_as": 2}]},
    "overlap": None,
    "samples": [
        {
            "line": 1,
            "turns": [
                {"role": "user", "content": "<b>What time is it?</b>"},
                {"role": "assistant", "content": "", "tool_calls": [{"name": "clock", "arguments": {}}]},
            ],
        }
    ],
}


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_newcomer_is_led_to_the_upload(owner: Person) -> None:
    assert "No datasets yet" in text_of(owner.browser.get("/datasets/"))


def test_datasets_are_their_owners_alone(owner: Person, stranger: Person, signed_out: Person) -> None:
    dataset = make_dataset(owner.user, name="my rows")
    assert "my rows" in text_of(owner.browser.get("/datasets/"))
    assert "my rows" not in text_of(stranger.browser.get("/datasets/"))
    assert owner.browser.get(f"/datasets/{dataset.pk}/").status_code == 200
    assert stranger.browser.get(f"/datasets/{dataset.pk}/").status_code == 404
    assert signed_out.browser.get(f"/datasets/{dataset.pk}/").status_code == 302


def test_the_list_can_be_searched(owner: Person) -> None:
    make_dataset(owner.user, name="tickets")
    assert "tickets" in text_of(owner.browser.get("/datasets/?q=TICK"))
    assert "No dataset matches" in text_of(owner.browser.get("/datasets/?q=other"))


def test_the_report_names_lines_and_shows_rows_as_text(owner: Person) -> None:
    dataset = make_dataset(
        owner.user, report=REPORT, status="rejected", training_ready=False, error="Line 7: The line is not JSON."
    )
    page = text_of(owner.browser.get(f"/datasets/{dataset.pk}/"))
    for words in (
        "No job can train on this file yet.",
        "the first 1 of 2",
        "<b>7</b>",
        "3 rows repeat an earlier row.",
        "Line 9 repeats line 2",
        "3.39 %",
        "&lt;b&gt;What time is it?&lt;/b&gt;",
        "&quot;name&quot;: &quot;clock&quot;",
    ):
        assert words in page
    assert "Use in a new job" not in page


def test_a_ready_dataset_leads_to_a_job(owner: Person) -> None:
    dataset = make_dataset(owner.user, report=REPORT)
    assert f'href="/jobs/new/?dataset={dataset.pk}"' in text_of(owner.browser.get(f"/datasets/{dataset.pk}/"))


def test_a_running_check_shows_how_far_it_is(owner: Person) -> None:
    progress = {"rows": 1200, "bytes": 5_000_000, "total_bytes": 9_000_000}
    dataset = make_dataset(owner.user, status="checking", training_ready=False, report={"progress": progress})
    page = text_of(owner.browser.get(f"/datasets/{dataset.pk}/", headers={"X-Fragment": "1"}))
    assert 'data-busy="yes"' in page
    assert "1,200 rows, 5.0 MB of 9.0 MB" in page
    assert "<html" not in page


def test_an_upload_may_be_a_validation_set_of_an_own_training_set(owner: Person, stranger: Person) -> None:
    dataset = make_dataset(owner.user, name="training rows")
    make_dataset(stranger.user, name="not mine")
    page = text_of(owner.browser.get(f"/datasets/new/?validation_for={dataset.pk}"))
    assert re.search(rf'value="{dataset.pk}" selected>training rows', page)
    assert "not mine" not in page


def test_the_histogram_ends_with_its_last_filled_bucket() -> None:
    drawn = bars(
        [
            {"from": 0, "to": 64, "rows": 5},
            {"from": 64, "to": 128, "rows": 0},
            {"from": 128, "to": 256, "rows": 10},
            {"from": 256, "to": None, "rows": 0},
        ]
    )
    assert drawn is not None
    assert [bar["rows"] for bar in drawn["bars"]] == [5, 0, 10]
    assert drawn["bars"][2]["height"] == 2 * drawn["bars"][0]["height"]
    assert bars([{"from": 0, "to": None, "rows": 0}]) is None
