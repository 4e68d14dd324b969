"""Nothing is lost on its way: whoever is down, slow, unkind or killed, a message arrives, or says why not."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from notifications import addresses, destinations, outbox, services, tasks, telling
from notifications.models import Delivery, Destination, Notification, Subscription
from notifications.transports import transport
from pipeline import clock
from pipeline.config import reconcile
from pipeline.services.errors import Conflict
from pipeline.states import JobStatus
from tests.factories import make_running_job, make_user
from tests.fakes.receiver import FakeReceiver, verify
from tests.notifications.conftest import add, the
from tests.notifications.test_delivery import end
from tests.waiting import until

pytestmark = [pytest.mark.usefixtures("world"), pytest.mark.django_db]


def later(**time_: float) -> None:
    """Let so much time pass for everything that waits."""
    passed = timedelta(**time_)
    Delivery.objects.update(
        next_try_at=F("next_try_at") - passed, since=F("since") - passed, lease_until=F("lease_until") - passed
    )
    Destination.objects.update(rest_until=F("rest_until") - passed)


def send() -> int:
    return outbox.send_due(threads=1)


def waits(delivery: Delivery) -> float:
    """Seconds until the next try."""
    return round((delivery.next_try_at - clock.now()).total_seconds())


class TestMaking:
    def test_an_event_makes_the_notification_and_its_deliveries_together(self, owner, receiver, monkeypatch):
        add(owner.user, receiver)
        add(make_user(), receiver)  # somebody else's
        job, *_ = make_running_job(owner.user)
        end(job, JobStatus.FAILED, "training_error")
        monkeypatch.setattr(outbox, "enqueue", lambda made: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            services.deliver_pending()
        assert not Notification.objects.exists()
        monkeypatch.undo()
        services.deliver_pending()
        assert [one.destination.owner for one in Delivery.objects.all()] == [owner.user]
        assert send() == 1
        assert receiver.taken[0].json["type"] == "job_failed"

    def test_starts_are_not_sent_unless_they_are_wanted(self, owner, webhook, notify):
        assert not notify(type="job_started").deliveries.exists()
        destinations.choose(owner.user, [(webhook.pk, "job_started", True), (webhook.pk, "job_completed", False)])
        assert notify(type="job_started").deliveries.exists()
        assert not notify().deliveries.exists()
        assert notify(type="job_failed").deliveries.exists()

    def test_nothing_is_made_for_what_its_owner_switched_off(self, webhook, notify):
        destinations.change(webhook, enabled=False)
        assert not notify().deliveries.exists()

    def test_many_need_no_more_queries_than_one(self, owner, receiver):
        counts = []
        for more in (1, 5):
            for _ in range(more):
                add(owner.user, receiver)
            made = [Notification.objects.create(owner=owner.user, type="job_failed", title="x") for _ in range(more)]
            with CaptureQueriesContext(connection) as queries:
                outbox.enqueue(made)
            counts.append(len(queries))
        assert counts[0] == counts[1]
        assert Delivery.objects.count() == 1 + 5 * 6

    def test_making_and_failing_wake_the_sender(
        self, webhook, notify, receiver, monkeypatch, django_capture_on_commit_callbacks
    ):
        nudged: list[Any] = []
        monkeypatch.setattr(outbox, "nudge", lambda task, countdown=None: nudged.append((task, countdown)))
        receiver.answers = [500]
        with django_capture_on_commit_callbacks(execute=True):
            notify()
        with django_capture_on_commit_callbacks(execute=True):
            send()
        assert nudged == [(outbox.SEND, None), (outbox.SEND, 10)]


class TestTryingAgain:
    def test_the_pauses_grow_until_three_days_are_over(self, webhook, notify, receiver):
        receiver.always = 500
        delivery = the(notify())
        pauses = []
        for _ in range(40):
            assert send() == 1
            delivery.refresh_from_db()
            if delivery.state == "dead":
                break
            pauses.append(waits(delivery))
            later(seconds=pauses[-1])
        assert pauses[:8] == [10, 30, 120, 600, 3600, 10800, 21600, 21600]
        assert 2.5 * 86400 < sum(pauses) <= 3 * 86400
        assert delivery.last_error == "The receiver answered 500."
        assert (delivery.response_status, delivery.tries) == (500, len(pauses) + 1)
        assert len({taken.headers["webhook-id"] for taken in receiver.taken}) == 1

    def test_a_destination_that_is_down_for_an_hour_loses_nothing(self, webhook, notify, receiver):
        receiver.always = 503
        made = [notify(title=f"n{number}") for number in range(5)]
        for _ in range(60):
            send()
            later(minutes=1)
        assert not Delivery.objects.filter(state__in=["dead", "delivered"]).exists()
        assert "503" in Destination.objects.get().problem
        receiver.always, receiver.taken = 200, []
        later(hours=1)
        assert send() == 5
        assert [taken.json["data"]["title"] for taken in receiver.taken] == [one.title for one in made]
        assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
        assert Destination.objects.get().problem == ""

    def test_a_failure_lets_the_destination_rest_and_no_other(self, owner, webhook, notify, receiver):
        notify()
        notify()
        add(owner.user, receiver, "slack", name="other", address=f"{receiver.url}/other")
        both = notify()
        receiver.answers = [500]
        assert send() == 2  # the first of the webhook's three fails, Slack's arrives
        assert both.deliveries.get(destination__name="other").state == "delivered"
        assert [taken.path for taken in receiver.taken] == ["/hook/of-owner", "/other"]
        assert send() == 0
        later(seconds=10)
        assert send() == 3

    @pytest.mark.parametrize(
        ("header", "seconds"), [("90", 90), ("5", 10), ("9999999", 86400), ("soon", 10), ("nan", 10)]
    )
    def test_a_wait_that_a_receiver_asks_for_is_kept(self, webhook, notify, receiver, header, seconds):
        receiver.answers = [(429, {"Retry-After": header})]
        delivery = the(notify())
        notify()
        assert send() == 1
        delivery.refresh_from_db()
        assert waits(delivery) == seconds
        assert (delivery.state, delivery.response_status) == ("failed", 429)
        later(seconds=seconds - 2)
        assert send() == 0
        later(seconds=2)
        assert send() == 2

    @pytest.mark.parametrize(
        ("answer", "sentence"),
        [
            ("cut", "The connection ended before an answer came."),
            ((302, {"Location": "http://169.254.169.254/latest/meta-data/"}), "a redirect, which is not followed"),
            (404, "there is nothing at this address"),
        ],
    )
    def test_what_may_pass_is_tried_again(self, webhook, notify, receiver, answer, sentence):
        receiver.answers = [answer]
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert sentence in delivery.last_error
        assert len(receiver.taken) == 1
        later(seconds=10)
        send()
        delivery.refresh_from_db()
        assert delivery.state == "delivered"

    def test_a_receiver_that_hangs_is_left_soon(self, webhook, notify, receiver, monkeypatch):
        monkeypatch.setattr("notifications.transports.posting.SECONDS", 0.2)
        receiver.answers = ["hang"]
        delivery = the(notify())
        begun = time.monotonic()
        send()
        assert time.monotonic() - begun < 2
        delivery.refresh_from_db()
        assert delivery.last_error == "The receiver did not answer within 0.2 seconds."

    def test_an_endless_answer_is_cut(self, webhook, notify, receiver):
        receiver.body = b"x" * 100_000
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert "longer than 65,536 bytes" in delivery.last_error

    def test_what_cannot_be_opened_waits_for_the_key(self, webhook, notify, receiver):
        Destination.objects.update(sealed=b"\x01nonsense of some length here")
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert delivery.state == "failed"
        assert "cannot be read" in delivery.last_error
        assert not receiver.taken


class TestTheEnd:
    def test_gone_switches_the_destination_off_and_tells_its_owner_elsewhere(self, owner, webhook, notify, receiver):
        slack = add(owner.user, receiver, "slack", address=f"{receiver.url}/slack")
        first, waiting = notify(), notify()
        later(seconds=0)
        receiver.answers = [410]
        Delivery.objects.filter(destination=slack).update(state="delivered", delivered_at=Now())
        send()
        webhook.refresh_from_db()
        assert not webhook.enabled
        assert "wants no more messages" in webhook.problem
        assert {one.state for one in webhook.deliveries.all()} == {"dead"}
        assert waiting.deliveries.get(destination=webhook).last_error == outbox.SWITCHED_OFF
        told = Notification.objects.get(type="destination_off")
        assert (told.owner, told.action_url) == (owner.user, "/settings/notifications/")
        assert [one.destination for one in told.deliveries.all()] == [slack]
        send()
        assert "switched off" in receiver.taken[-1].json["text"]
        assert first.deliveries.get(destination=webhook).response_status == 410

    def test_an_address_that_became_forbidden_ends_at_once(self, webhook, notify, receiver, settings):
        settings.STOKER_PRIVATE_URLS = []
        delivery = the(notify())
        send()
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries) == ("dead", 1)
        assert "https://" in delivery.last_error
        assert not receiver.taken

    def test_five_given_up_in_a_row_switch_it_off_and_one_that_arrives_counts_anew(self, owner, notify, receiver):
        slack = add(owner.user, receiver, "slack")
        receiver.answers = [404] * 4 + [200] + [404] * 5
        for _ in range(10):
            notify()
        assert send() == 10
        slack.refresh_from_db()
        assert (slack.enabled, slack.given_up) == (False, 5)
        kept = the(notify())  # made, so that it can be sent when the destination is mended
        assert (kept.state, kept.last_error) == ("dead", outbox.SWITCHED_OFF)
        with pytest.raises(Conflict):
            destinations.send_again(kept)
        destinations.change(slack, enabled=True)
        destinations.send_again(kept)
        assert send() == 1
        kept.refresh_from_db()
        assert kept.state == "delivered"

    def test_switched_off_while_a_message_was_on_its_way(self, webhook, notify, receiver):
        delivery = the(notify())
        claim = outbox.claim_next()
        assert claim is not None
        destinations.change(webhook, enabled=False)
        receiver.answers = [500]
        outbox.send(claim)
        delivery.refresh_from_db()
        assert delivery.state == "dead"


class TestCrashes:
    def test_a_worker_that_dies_before_or_after_sending_leaves_a_message_that_arrives(self, webhook, notify, receiver):
        delivery = the(notify())
        assert outbox.claim_next() is not None  # and dies
        assert send() == 0
        later(seconds=61)
        claim = outbox.claim_next()
        assert claim is not None
        # It sends, and dies before it can say so.
        message = telling.message_of(claim.delivery.notification)
        transport("webhook").send(addresses.opened(webhook), message)
        later(seconds=61)
        assert send() == 1
        delivery.refresh_from_db()
        assert (delivery.state, delivery.tries) == ("delivered", 3)
        assert [taken.headers["webhook-id"] for taken in receiver.taken] == [message.id] * 2
        # Whoever wakes up late changes nothing any more.
        receiver.answers = [500]
        outbox.send(claim)
        delivery.refresh_from_db()
        assert delivery.state == "delivered"

    def test_a_mistake_of_ours_is_logged_and_holds_up_no_other(
        self, owner, webhook, notify, receiver, monkeypatch, caplog
    ):
        other = add(owner.user, receiver, "discord")
        original = outbox.transport
        monkeypatch.setattr(outbox, "transport", lambda kind: 1 / 0 if kind == "webhook" else original(kind))
        notification = notify()
        assert send() == 2
        assert notification.deliveries.get(destination=webhook).last_error == outbox.MISTAKE
        assert notification.deliveries.get(destination=other).state == "delivered"
        assert "ZeroDivisionError" in caplog.text

    @pytest.mark.django_db(transaction=True)
    def test_workers_side_by_side_send_each_message_once(self, owner, receiver, notify):
        for _ in range(3):
            add(owner.user, receiver)
        for _ in range(8):
            notify()
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        until(lambda: outbox.send_due() == 0, what="the rest")
        assert len(receiver.taken) == 24
        assert not Delivery.objects.exclude(state="delivered", tries=1).exists()

    @pytest.mark.django_db(transaction=True)
    def test_a_slow_destination_does_not_hold_up_another(self, owner, receiver, notify, settings):
        add(owner.user, receiver, "slack", name="slow", address=f"{receiver.url}/slow")
        notify()
        receiver.answers = ["hang"]
        worker = threading.Thread(target=work)
        worker.start()
        until(lambda: receiver.taken, what="the slow call")
        with FakeReceiver() as quick:
            settings.STOKER_PRIVATE_URLS = [*settings.STOKER_PRIVATE_URLS, quick.url]
            add(owner.user, quick, "slack", name="quick")
            notify()
            outbox.send_due()
            assert len(quick.taken) == 1
            assert len(receiver.taken) == 1  # its second message waits until the first is settled
        receiver.let_go.set()
        worker.join()

    def test_without_celery_the_loop_sends(self, webhook, notify, receiver):
        notify()
        steps = {step.name: step for step in reconcile.steps(timedelta(0), timedelta(0))}
        assert steps["Send notifications to destinations"].run()
        assert len(receiver.taken) == 1

    def test_the_task_sends(self, webhook, notify):
        notify()
        assert tasks.send_due() == 1


def work() -> None:
    try:
        outbox.send_due()
    finally:
        connection.close()


class TestSendingAgain:
    @pytest.mark.parametrize("state", ["delivered", "dead", "failed", "pending"])
    def test_whatever_became_of_it(self, webhook, notify, receiver, state):
        notification = notify()
        Delivery.objects.update(state=state, tries=9, next_try_at=Now() + timedelta(hours=5), delivered_at=Now())
        destinations.send_again(the(notification))
        send()
        again = the(notification)
        assert (again.state, again.tries, again.last_error) == ("delivered", 1, "")
        assert receiver.taken[0].headers["webhook-id"] == f"msg_{notification.pk.hex}"

    def test_what_is_on_its_way_is_left_alone(self, webhook, notify):
        delivery = the(notify())
        outbox.claim_next()
        with pytest.raises(Conflict, match="at this moment"):
            destinations.send_again(delivery)


def test_each_of_three_people_gets_their_own(owner, stranger, receiver, notify):
    third = make_user("third")
    for user in (owner.user, stranger.user, third):
        add(user, receiver)
    notify(owner.user, title="a")
    notify(third, title="c")
    send()
    got = sorted((taken.path, taken.json["data"]["title"]) for taken in receiver.taken)
    assert got == [("/hook/of-owner", "a"), ("/hook/of-third", "c")]
    assert not Subscription.objects.exists()
    secrets = {one.owner.username: addresses.opened(one).secrets[0] for one in Destination.objects.all()}
    for taken in receiver.taken:
        name = taken.path.removeprefix("/hook/of-")
        assert [verify(taken, secret, time.time()) for secret in secrets.values()].count(True) == 1
        assert verify(taken, secrets[name], time.time())
