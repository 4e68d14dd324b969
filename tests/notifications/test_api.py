from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from notifications.models import Notification

LIST = "/api/notifications/"


def make(owner: Any, title: str = "hello", **fields: Any) -> Notification:
    return Notification.objects.create(owner=owner, **({"type": "job_completed", "title": title} | fields))


@pytest.fixture
def two(owner: Any, stranger: Any) -> list[Notification]:
    make(stranger.user, "not yours")
    return [make(owner.user, "older"), make(owner.user, "newer", type="job_failed")]


def test_lists_ones_own_newest_first_with_the_unread_count(owner, two):
    body = owner.api.get(LIST).json()
    assert [item["title"] for item in body["results"]] == ["newer", "older"]
    assert (body["count"], body["unread"]) == (2, 2)


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("unread=true", ["newer"]),
        ("unread=false", ["older"]),
        ("type=job_failed", ["newer"]),
        ("page_size=1", ["newer"]),
    ],
)
def test_filters(owner, two, query, titles):
    owner.api.post(f"{LIST}{two[0].pk}/read/")
    assert [item["title"] for item in owner.api.get(f"{LIST}?{query}").json()["results"]] == titles


def test_reading_twice_keeps_the_first_time(owner, two):
    first = owner.api.post(f"{LIST}{two[0].pk}/read/")
    second = owner.api.post(f"{LIST}{two[0].pk}/read/")
    assert first.status_code == second.status_code == 200
    assert first.json() == second.json()
    assert first.json()["read"] is True
    assert owner.api.get(f"{LIST}unread/").json() == {"unread": 1}


def test_reading_all_leaves_other_peoples_alone(owner, two):
    assert owner.api.post(f"{LIST}read-all/").json() == {"unread": 0}
    assert Notification.objects.unread().get().title == "not yours"


def test_somebody_elses_does_not_exist(stranger, two):
    assert stranger.api.post(f"{LIST}{two[0].pk}/read/").status_code == 404
    assert stranger.api.post(f"{LIST}{uuid4()}/read/").status_code == 404


def test_many_need_no_more_queries_than_one(owner):
    make(owner.user)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            owner.api.get(LIST)
        counts.append(len(queries))
        for _ in range(9):
            make(owner.user)
    assert counts[0] == counts[1]
