"""Destinations, choices and deliveries by API: one's own, with addresses that go in and never come out."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from notifications import addresses, destinations, outbox
from notifications.models import Delivery, Destination, Kind, Subscription
from tests.fakes.receiver import verify
from tests.notifications.conftest import add, the

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver")]

LIST, DELIVERIES, SETTINGS = "/api/destinations/", "/api/deliveries/", "/api/notification-settings/"
SHOWN = {"id", "kind", "name", "hint", "enabled", "problem", "worked_at", "old_secret_until", "created_at"}


def post(person: Any, **body: Any) -> Any:
    return person.api.post(LIST, {"kind": "webhook", "name": "mine"} | body, format="json")


def test_an_address_goes_in_and_never_comes_out(owner, receiver):
    where = f"{receiver.url}/secret-path"
    made = post(owner, address=where)
    assert made.status_code == 201
    assert set(made.json()) == SHOWN | {"secret"}
    one = f"{LIST}{made.json()['id']}/"
    everything = [owner.api.get(LIST), owner.api.get(one), owner.api.patch(one, {"name": "new"}, format="json")]
    assert set(everything[1].json()) == SHOWN
    for answer in everything:
        assert b"secret-path" not in answer.content
        assert b"whsec_" not in answer.content
    assert made.json()["hint"] == receiver.url.removeprefix("http://")
    row = Destination.objects.get()
    assert b"secret-path" not in bytes(row.sealed)
    assert addresses.opened(row).where == where
    assert where not in owner.browser.get("/settings/notifications/").content.decode()


def test_the_test_button_sends_and_says_what_came_of_it(owner, receiver):
    made = post(owner, address=receiver.url).json()
    path = f"{LIST}{made['id']}/test/"
    assert owner.api.post(path).json() == {"delivered": True, "status": 200, "message": "The test message was taken."}
    assert receiver.taken[0].json["type"] == "test"
    assert verify(receiver.taken[0], made["secret"], time.time())
    assert owner.api.get(LIST).json()["results"][0]["worked_at"]
    again = owner.api.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "too_soon")
    Destination.objects.update(tested_at=None)
    receiver.answers = [500]
    assert owner.api.post(path).json() == {
        "delivered": False, "status": 500, "message": "The receiver answered 500.",
    }  # fmt: skip
    assert owner.api.get(LIST).json()["results"][0]["problem"] == "The receiver answered 500."


def test_a_new_secret_is_shown_once_and_only_webhooks_have_one(owner, receiver, webhook):
    first = addresses.opened(webhook).secrets[0]
    fresh = owner.api.post(f"{LIST}{webhook.pk}/new-secret/").json()["secret"]
    assert addresses.opened(Destination.objects.get()).secrets == (fresh, first)
    slack = add(owner.user, receiver, "slack")
    answer = owner.api.post(f"{LIST}{slack.pk}/new-secret/")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_signed")


def test_switching_off_and_on_and_a_new_address(owner, receiver, webhook, notify):
    delivery = the(notify())
    path = f"{LIST}{webhook.pk}/"
    assert owner.api.patch(path, {"enabled": False}, format="json").json()["enabled"] is False
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_error) == ("dead", outbox.SWITCHED_OFF)
    Destination.objects.update(problem="Gone.", given_up=7)
    body = {"enabled": True, "address": f"{receiver.url}/new"}
    assert owner.api.patch(path, body, format="json").json()["problem"] == ""
    owner.api.post(f"{DELIVERIES}{delivery.pk}/send-again/")
    outbox.send_due(threads=1)
    assert [taken.path for taken in receiver.taken] == ["/new"]
    assert Destination.objects.get().given_up == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "address"),
        ({"address": "https://127.0.0.1/"}, "address"),
        ({"address": 5, "kind": "pigeon"}, "kind"),
        ({"address": "https://93.184.215.14/", "name": ""}, "name"),
        ({"address": "https://93.184.215.14/", "name": "a\nb"}, "name"),
        ({"address": "https://93.184.215.14/", "name": "taken"}, "name"),
        ({"address": "https://93.184.215.14/", "hint": "x"}, "hint"),
        ({"address": "https://93.184.215.14/", "adress": "x"}, "adress"),
    ],
)
def test_a_wrong_request_is_refused(owner, receiver, body, field):
    add(owner.user, receiver, name="taken")
    answer = post(owner, **body)
    assert answer.status_code == 400
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert Destination.objects.count() == 1


def test_twenty_are_the_most(owner, receiver, monkeypatch):
    monkeypatch.setattr(destinations, "MOST", 2)
    assert [post(owner, name=name, address=receiver.url).status_code for name in "abc"] == [201, 201, 409]


def test_choices_are_kept_one_by_one(owner, stranger, receiver, webhook):
    shown = owner.api.get(SETTINGS).json()
    assert [one["type"] for one in shown["types"]] == Kind.values
    (row,) = shown["destinations"]
    assert row["wanted"] == {kind: kind != "job_started" for kind in Kind.values}
    choices = [{"destination": str(webhook.pk), "type": "job_started", "wanted": True}]
    after = owner.api.patch(SETTINGS, {"choices": choices * 2}, format="json").json()
    assert after["destinations"][0]["wanted"]["job_started"] is True
    choices[0]["wanted"] = False
    owner.api.patch(SETTINGS, {"choices": choices}, format="json")
    assert Subscription.objects.get().wanted is False
    refused = stranger.api.patch(SETTINGS, {"choices": choices}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "not_found")


def test_the_log_of_deliveries_and_its_filters(owner, stranger, receiver, webhook, notify):
    other = add(owner.user, receiver, "slack")
    add(stranger.user, receiver)
    notification = notify()
    theirs = notify(stranger.user)
    receiver.always = 500
    outbox.send_due(threads=1)
    body = owner.api.get(DELIVERIES).json()
    assert body["count"] == 2
    first = body["results"][0]
    assert (first["state"], first["last_error"], first["response_status"]) == (
        "failed",
        "The receiver answered 500.",
        500,
    )
    assert first["notification_title"] == "It is done"
    for query, count in [
        ("state=failed", 2),
        ("state=delivered", 0),
        (f"destination={other.pk}", 1),
        (f"notification={notification.pk}", 2),
        (f"notification={theirs.pk}", 0),
    ]:
        assert owner.api.get(f"{DELIVERIES}?{query}").json()["count"] == count, query
    foreign = Delivery.objects.get(destination__owner=stranger.user)
    assert owner.api.post(f"{DELIVERIES}{foreign.pk}/send-again/").status_code == 404
    answer = owner.api.post(f"{DELIVERIES}{first['id']}/send-again/")
    assert (answer.status_code, answer.json()["state"], answer.json()["tries"]) == (202, "pending", 0)


def test_somebody_elses_does_not_exist(stranger, webhook):
    for method, rest in [("get", ""), ("patch", ""), ("delete", ""), ("post", "test/"), ("post", "new-secret/")]:
        assert getattr(stranger.api, method)(f"{LIST}{webhook.pk}/{rest}").status_code == 404
        assert getattr(stranger.api, method)(f"{LIST}{uuid4()}/{rest}").status_code == 404
    assert Destination.objects.exists()


def test_removing_one_takes_its_log_along_and_leaves_the_notification(owner, webhook, notify):
    notification = notify()
    assert owner.api.delete(f"{LIST}{webhook.pk}/").status_code == 204
    notification.refresh_from_db()
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("path", [LIST, DELIVERIES, SETTINGS, "/notifications/", "/settings/notifications/"])
def test_many_need_no_more_queries_than_one(owner, receiver, notify, path):
    counts = []
    for more in (1, 4):
        for _ in range(more):
            add(owner.user, receiver)
        notify()
        client = owner.api if path.startswith("/api/") else owner.browser
        with CaptureQueriesContext(connection) as queries:
            assert client.get(path).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_addresses_are_sealed_anew_with_a_new_key(webhook, settings, capsys):
    where = addresses.opened(webhook).where
    old = settings.STOKER_ENCRYPTION_KEYS
    settings.STOKER_ENCRYPTION_KEYS = [b"n" * 32, *old]
    call_command("rotate_keys")
    settings.STOKER_ENCRYPTION_KEYS = [b"n" * 32]
    assert addresses.opened(Destination.objects.get()).where == where


def test_an_address_cannot_be_moved_to_another_row(owner, stranger, receiver, webhook, notify):
    other = add(stranger.user, receiver)
    Destination.objects.filter(pk=other.pk).update(sealed=webhook.sealed)
    delivery = the(notify(stranger.user))
    outbox.send_due(threads=1)
    delivery.refresh_from_db()
    assert "cannot be read" in delivery.last_error
    assert not receiver.taken
