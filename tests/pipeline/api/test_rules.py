"""Rules over the API: defaults, a job's own, and two people (or two tabs of one) at the same rule."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pipeline.models import Job, Preset, Rule

LOSS_ABOVE = {"kind": "loss_above", "parameters": {"threshold": 5}, "action": "stop"}


@pytest.fixture
def rules_of(owner: Any, things: Any) -> str:
    return f"/api/jobs/{things.running.pk}/rules/"


def test_a_running_job_gets_one_more(owner, rules_of):
    made = owner.api.post(rules_of, LOSS_ABOVE, format="json")
    assert made.status_code == 201
    rule = made.json()
    assert rule["parameters"] == {"metric": "loss", "threshold": 5.0, "after_step": 100}
    assert rule["sentence"] == "Stop when loss is above 5 after step 100."
    assert (rule["state"], rule["version"], rule["built_in"]) == ("armed", 1, False)
    assert owner.api.get(rules_of).json() == [rule]
    assert owner.api.get(f"/api/rules/{rule['id']}/").json() == rule


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "loss_is_sad"}, "kind"),
        (LOSS_ABOVE | {"action": "explode"}, "action"),
        (LOSS_ABOVE | {"parameters": {"threshold": "x"}}, "parameters.threshold"),
        (LOSS_ABOVE | {"parameters": []}, "parameters"),
        (LOSS_ABOVE | {"sentence": "Stop."}, "sentence"),
    ],
)
def test_what_is_wrong_is_named(owner, rules_of, body, field):
    answer = owner.api.post(rules_of, body, format="json")
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]


def test_two_tabs_do_not_lose_an_edit_silently(owner, rules_of):
    rule = owner.api.post(rules_of, LOSS_ABOVE, format="json").json()
    address = f"/api/rules/{rule['id']}/"
    first = owner.api.patch(address, {"version": 1, "action": "notify"}, format="json")
    assert (first.status_code, first.json()["version"]) == (200, 2)
    second = owner.api.patch(address, {"version": 1, "parameters": {"threshold": 9}}, format="json")
    assert second.status_code == 409
    assert second["Content-Type"] == "application/problem+json"
    assert second.json()["code"] == "stale_version"
    assert second.json()["current"] == first.json()
    assert owner.api.delete(f"{address}?version=1").status_code == 409
    assert owner.api.delete(f"{address}?version=2").status_code == 204
    assert owner.api.get(rules_of).json() == []


def test_a_change_without_a_version_is_refused(owner, rules_of):
    rule = owner.api.post(rules_of, LOSS_ABOVE, format="json").json()
    assert owner.api.patch(f"/api/rules/{rule['id']}/", {"enabled": False}, format="json").status_code == 400
    assert owner.api.delete(f"/api/rules/{rule['id']}/").status_code == 400


def test_everybody_has_defaults_that_are_theirs(owner, stranger):
    mine = owner.api.get("/api/rules/").json()["results"]
    assert [(one["kind"], one["action"], one["state"], one["built_in"]) for one in mine] == [
        ("loss_not_finite", "stop", "default", True), ("no_progress", "notify", "default", True),
    ]  # fmt: skip
    theirs = stranger.api.get("/api/rules/").json()["results"]
    assert not {one["id"] for one in mine} & {one["id"] for one in theirs}
    assert owner.api.delete(f"/api/rules/{mine[0]['id']}/?version=1").json()["code"] == "kept"
    off = owner.api.patch(f"/api/rules/{mine[0]['id']}/", {"version": 1, "enabled": False}, format="json")
    assert off.json()["state"] == "off"
    assert [one["kind"] for one in owner.api.get("/api/rules/for-new-job/").json()] == ["no_progress"]


def test_a_new_job_says_which_rules_it_would_get(owner, job_body):
    preset = Preset.objects.get(slug="balanced")
    Rule.objects.create(preset=preset, kind="cost_above", parameters={"amount": 3.0})
    owner.api.post("/api/rules/", LOSS_ABOVE, format="json")
    said = owner.api.get("/api/rules/for-new-job/?preset=balanced").json()
    assert [one["kind"] for one in said] == ["loss_not_finite", "no_progress", "loss_above", "cost_above"]
    made = owner.api.post("/api/jobs/", job_body | {"preset": "balanced"}, format="json").json()
    given = owner.api.get(f"/api/jobs/{made['id']}/rules/").json()
    assert [one["sentence"] for one in given] == [one["sentence"] for one in said]
    shown = next(one for one in owner.api.get("/api/presets/").json() if one["slug"] == "balanced")
    assert [one["sentence"] for one in shown["rules"]] == ["Tell me when the cost is above $3.00."]
    assert owner.api.get("/api/rules/for-new-job/?preset=nothing").status_code == 400


@pytest.mark.parametrize(("rules", "kinds"), [(None, 2), ([], 0), ([LOSS_ABOVE], 1)])
def test_a_job_is_made_with_rules(owner, job_body, rules, kinds):
    made = owner.api.post("/api/jobs/", job_body | {"rules": rules}, format="json")
    assert made.status_code == 201
    assert Job.objects.get(pk=made.json()["id"]).rules.count() == kinds


def test_wrong_rules_make_no_job(owner, job_body):
    answer = owner.api.post("/api/jobs/", job_body | {"rules": [{"kind": "no_progress", "parameters": {"minutes": 0}}]},
                            format="json")  # fmt: skip
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "rules.0.parameters.minutes")
    assert not Job.objects.exists()


def test_a_rule_is_checked_and_said_without_being_made(owner):
    said = owner.api.post("/api/rules/check/", LOSS_ABOVE, format="json")
    assert (said.status_code, said.json()["sentence"]) == (200, "Stop when loss is above 5 after step 100.")
    assert not Rule.objects.exists()


def test_the_kinds_tell_their_parameters(owner):
    kinds = {one["kind"]: one for one in owner.api.get("/api/rules/kinds/").json()}
    assert kinds["no_progress"]["parameters"][0]["default"] == 30
    assert kinds["loss_not_finite"]["parameters"] == []


def test_a_fired_rule_is_armed_again(owner, rules_of):
    rule = owner.api.post(rules_of, LOSS_ABOVE, format="json").json()
    Rule.objects.filter(pk=rule["id"]).update(fired_at="2026-05-01T12:00:00Z", fired_step=7, saw="loss 9 at step 7")
    assert owner.api.get(rules_of).json()[0]["state"] == "fired"
    armed = owner.api.post(f"/api/rules/{rule['id']}/arm/").json()
    assert (armed["state"], armed["fired_step"], armed["version"]) == ("armed", None, 2)


def test_a_list_takes_as_many_queries_for_many_rules_as_for_one(owner, things, rules_of):
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            owner.api.get(rules_of)
        return len(queries)

    owner.api.post(rules_of, LOSS_ABOVE, format="json")
    one = count()
    for _ in range(5):
        owner.api.post(rules_of, LOSS_ABOVE, format="json")
    assert count() == one
