"""The operators' dashboard: what it shows, to whom, and at what price; and the audit trail behind it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications.models import Delivery, Destination, Notification
from pipeline import overview
from pipeline.config import broker
from pipeline.config.dashboard import bars
from pipeline.models import (
    AccountLook,
    Attempt,
    CostRecord,
    Credential,
    EventType,
    Job,
    MachineSighting,
    ProcessBeat,
    ProviderCall,
)
from pipeline.transitions import record_event
from tests.factories import make_attempt, make_job, make_running_job, make_user
from tests.pipeline.admin.conftest import operator
from tests.pipeline.conftest import rented, world

__all__ = ["operator", "rented", "world"]
pytestmark = pytest.mark.django_db
PAGE = "/admin/"
AUDIT = "/admin/audit/"


def failed(owner: Any, reason: str, ago: timedelta = timedelta(0)) -> Job:
    job = make_job(owner.user)
    Job.objects.filter(pk=job.pk).update(status="failed", reason=reason, completed_at=Now() - ago, final_cost=0)
    return job


def some_of_everything(owner: Any) -> None:
    job, attempt, _ = make_running_job(owner.user)
    now = timezone.now()
    Attempt.objects.update(price_per_hour=Decimal("2.50"))
    CostRecord.objects.create(
        owner=owner.user, provider="scripted", job=job, attempt=attempt, period_start=now, period_end=now, seconds=60,
        price_per_hour=60, amount="1.25",
    )  # fmt: skip
    ProcessBeat.objects.update_or_create(name="beat", defaults={"at": now})
    ProcessBeat.objects.update_or_create(name="reconcile", defaults={"at": now - timedelta(minutes=2)})
    failed(owner, "out_of_memory")
    failed(owner, "vanished", timedelta(days=3))
    record_event(job.pk, EventType.STOP, "Cancel requested.", actor="ada")
    ProviderCall.objects.create(attempt=attempt, op="stop", outcome="ok", actor="olga")


def test_it_shows_how_things_are(operator, owner, world):
    some_of_everything(owner)
    page = operator.get(PAGE).content.decode()
    for text in ("$2.50 an hour", "$1.25 this month", "Out of memory", "Machine vanished", "Done lately", "olga"):
        assert text in page, text
    assert "Reconcile is silent. Reconcile: without it" in page
    assert "Nothing needs you" not in page


def test_nothing_wrong_is_said_too(operator, world, services):
    for name in overview.PROCESSES:
        ProcessBeat.objects.create(name=name, at=timezone.now())
    page = operator.get(PAGE).content.decode()
    assert "Nothing needs you." in page
    assert "No job has failed in the last seven days." in page


def test_what_needs_a_person_comes_first(operator, owner, world):
    make_running_job(owner.user)
    Job.objects.update(current_stage="still_billed")
    now = timezone.now()
    MachineSighting.objects.create(
        provider="scripted", name="stoker-x", external_id="zombie", verdict="orphan", state="running",
        price_per_hour="3.60", first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    AccountLook.objects.create(provider="scripted", held_back="4 of 4 look forgotten", problem="Refused.")
    Credential.objects.create(owner=owner.user, provider="rented", secret=b"", problem="Rented refuses this key.")
    told = Notification.objects.create(owner=owner.user, type="job_started", title="x")
    to = Destination.objects.create(owner=owner.user, kind="webhook", name="hook", sealed=b"", hint="x")
    Delivery.objects.create(notification=told, destination=to, state="dead", since=now, next_try_at=now)
    attention = [one.text for one in operator.get(PAGE).context["now"]["attention"]]
    assert attention[:3] == [
        "1 forgotten machine still there, and billed.",
        "1 account: too much looks forgotten at once, a person must check.",
        "1 job stopping with a machine that is still billed.",
    ]
    assert "1 delivery was given up and can be sent again." in attention
    assert "The last look at 1 account did not work." in attention
    page = operator.get(PAGE).content.decode()
    assert "Rented refuses this key." in page
    assert "zombie" not in page, "that is on the board"


def test_more_of_everything_needs_no_more_queries(operator, owner, world):
    some_of_everything(owner)
    operator.get(PAGE)
    with CaptureQueriesContext(connection) as few:
        operator.get(PAGE)
    for _ in range(4):
        some_of_everything(owner)
    with CaptureQueriesContext(connection) as many:
        operator.get(PAGE)
    assert len(many) == len(few) <= 30


def test_sections_are_for_those_who_may_see_their_rows(owner, world):
    some_of_everything(owner)
    watcher = User.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_processbeat"))
    client = Client()
    client.force_login(watcher)
    page = client.get(PAGE).content.decode()
    assert "Signs of life" in page
    for section in (
        "Active jobs by age",
        "Machines by provider",
        "Spending of",
        "Failures by",
        "Keys that",
        "Done lately",
    ):
        assert section not in page
    assert client.get(AUDIT).status_code == 403
    assert owner.browser.get(PAGE).status_code == owner.browser.get(AUDIT).status_code == 302


def test_redis_that_is_away_is_told_and_nothing_breaks(operator, world, settings):
    settings.STOKER_HINTS_URL = "redis://127.0.0.1:1/0"
    assert broker.answers() is False
    assert "Redis does not answer. Nothing is lost" in operator.get(PAGE).content.decode()


def test_jobs_are_counted_by_how_long_they_wait(owner, world):
    now = timezone.now()
    for minutes in (0.5, 5, 30, 90, 91):
        job = make_job(owner.user, start=True)
        Job.objects.filter(pk=job.pk).update(queued_at=now - timedelta(minutes=minutes))
    queued, *others = overview.queue(now)
    assert (queued.status, queued.counts, queued.total) == ("queued", (1, 1, 1, 2), 5)
    assert now - queued.oldest == timedelta(minutes=91)
    assert [one.total for one in others] == [0, 0, 0]


def test_a_forgotten_machine_in_an_account_of_two_people_is_counted_once(owner, world):
    job = make_job(owner.user)
    make_attempt(job, price_per_hour=1)
    now = timezone.now()
    keys = [None, Credential.objects.create(owner=owner.user, provider="scripted", secret=b"")]
    for key in keys:
        MachineSighting.objects.create(
            provider="scripted", name="n", external_id="z", credential=key, verdict="orphan", state="running",
            price_per_hour=3, first_seen_at=now, last_seen_at=now,
        )  # fmt: skip
    (one,) = overview.rented()
    assert (one.machines, one.forgotten, one.price_per_hour) == (1, 1, 4)


def test_every_day_has_its_bar(owner):
    today = timezone.now().date()
    found = bars(today, [])
    assert len(found) == 30
    assert (found[-1].day, found[-1].height, found[-1].y) == (today, 0, 100)


def test_the_audit_trail_tells_who_did_what(operator, owner, world):
    some_of_everything(owner)
    job = Job.objects.filter(status="running").get()
    LogEntry.objects.create(
        user=make_user("ottokar"), content_type=ContentType.objects.get_for_model(Job), object_id=str(job.pk),
        object_repr=job.name, action_flag=CHANGE, change_message="Priority <b>changed</b>",
    )  # fmt: skip
    page = operator.get(AUDIT).content.decode()
    for text in ("ada", "Cancel requested.", "olga", "Stop: done.", "ottokar", "Priority &lt;b&gt;changed&lt;/b&gt;"):
        assert text in page, text
    assert "Training has started" not in page, "nobody did that"
    only = operator.get(AUDIT, {"who": "ada"}).content.decode()
    assert "Cancel requested." in only
    assert "ottokar" not in only


def test_the_audit_trail_goes_back_page_by_page(operator, owner, world):
    job, *_ = make_running_job(owner.user)
    for number in range(60):
        event = record_event(job.pk, EventType.STOP, f"Deed {number}.", actor="ada")
        type(event).objects.filter(pk=event.pk).update(created_at=Now() - timedelta(minutes=60 - number))
    first = operator.get(AUDIT)
    assert [one.what for one in first.context["deeds"]] == [f"Deed {number}." for number in range(59, 9, -1)]
    second = operator.get(AUDIT, {"before": first.context["more"]})
    assert [one.what for one in second.context["deeds"]] == [f"Deed {number}." for number in range(9, -1, -1)]
    assert second.context["more"] == ""
    with CaptureQueriesContext(connection) as queries:
        operator.get(AUDIT)
    assert len(queries) < 12


@pytest.mark.parametrize(
    "query", ["who=%00", "before=x", "before=2026-02-31T00:00Z", "before=2026-01-01", "who=" + "x" * 999]
)
def test_odd_addresses_get_a_page(operator, world, query):
    assert operator.get(f"{AUDIT}?{query}").status_code == 200
