"""The pages about notifications, and what operators see of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from notifications import destinations, outbox
from notifications.models import Delivery, Destination
from tests.notifications.conftest import add, the

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("receiver")]

PAGE, SETTINGS = "/notifications/", "/settings/notifications/"
FRAGMENT = {"X-Fragment": "1"}


def read(person: Any, path: str, **headers: str) -> str:
    answer = person.browser.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_empty_page_says_what_will_stand_there(owner):
    assert "Nothing yet" in read(owner, PAGE)
    assert "Be told where you are" in read(owner, SETTINGS)


def test_each_notification_says_what_became_of_it(owner, stranger, receiver, webhook, notify):
    notify(stranger.user, title="Not yours")
    notify(title="Mine <b>")
    receiver.answers = [500]
    outbox.send_due(threads=1)
    text = read(owner, PAGE)
    assert "Mine &lt;b&gt;" in text
    assert "Not yours" not in text
    assert f"{webhook.name}: failed, tried again" in text
    assert "The receiver answered 500." in text
    assert "Send now" in text
    assert "data-waiting" in text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"old", "new"}),
        ("?unread=1", {"new"}),
        ("?type=job_failed", {"old"}),
        ("?type=nonsense", {"old", "new"}),
        ("?unread=1&type=job_failed", set()),
        ("?page=99", {"old", "new"}),
        ("?page=x%00", {"old", "new"}),
    ],
)
def test_filters(owner, notify, query, shown):
    owner.api.post(f"/api/notifications/{notify(title='note-old', type='job_failed').pk}/read/")
    notify(title="note-new")
    text = read(owner, PAGE + query, **FRAGMENT)
    assert {name for name in ("old", "new") if f"note-{name}" in text} == shown
    assert "<html" not in text


def test_the_settings_show_states_and_ticks_and_no_address(owner, stranger, receiver, webhook):
    add(stranger.user, receiver, name="not yours")
    slack = add(owner.user, receiver, "slack", name="Team")
    Destination.objects.filter(pk=slack.pk).update(problem="The receiver answered 503.")
    destinations.choose(owner.user, [(webhook.pk, "job_started", True)])
    text = read(owner, SETTINGS)
    assert "not yours" not in text
    assert "Failing" in text
    assert "Not tested" in text
    assert "The receiver answered 503." in text
    assert f'data-destination="{webhook.pk}" data-type="job_started" checked' in text
    assert f'data-destination="{slack.pk}" data-type="job_started" >' in text
    assert "/hook/of-owner" not in text
    assert "<html" not in read(owner, SETTINGS, **FRAGMENT)


@pytest.mark.parametrize("path", [PAGE, SETTINGS])
def test_who_is_signed_out_is_led_to_the_sign_in_page(signed_out, path):
    assert signed_out.browser.get(path).url == f"/sign-in/?next={path}"


def test_the_bell_and_the_settings_lead_there(owner):
    text = read(owner, "/settings/")
    assert f'href="{PAGE}"' in text
    assert text.count(f'href="{SETTINGS}"') == 2


class TestAdmin:
    @pytest.fixture
    def operator(self) -> Client:
        client = Client()
        client.force_login(get_user_model().objects.create_superuser("operator"))
        return client

    @pytest.mark.parametrize("name", ["destination", "delivery", "notification"])
    def test_lists_and_pages_open_without_an_address(self, operator, webhook, notify, name):
        delivery = the(notify())
        row = {"destination": webhook, "delivery": delivery, "notification": delivery.notification}[name]
        for path in (f"/admin/notifications/{name}/", f"/admin/notifications/{name}/{row.pk}/change/"):
            answer = operator.get(path)
            assert answer.status_code == 200
            assert b"/hook/of-owner" not in answer.content

    def test_deliveries_are_sent_again(self, operator, owner, receiver, webhook, notify):
        dead, off = the(notify()), the(notify())
        other = add(owner.user, receiver, "slack")
        Destination.objects.filter(pk=other.pk).update(enabled=False)
        Delivery.objects.filter(pk=off.pk).update(destination=other)
        Delivery.objects.update(state="dead")
        answer = operator.post(
            "/admin/notifications/delivery/",
            {"action": "send_again", "_selected_action": [str(dead.pk), str(off.pk)]},
            follow=True,
        )
        text = answer.content.decode()
        assert "1 sent as soon as possible." in text
        assert "switched off" in text
        outbox.send_due(threads=1)
        dead.refresh_from_db()
        assert dead.state == "delivered"
