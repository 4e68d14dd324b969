"""Every page of the admin opens, with one of everything in the database."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, SolarSchedule
from django_otp.plugins.otp_totp.models import TOTPDevice

from notifications.models import Delivery, Destination, Notification, Subscription
from pipeline.models import (
    AccountLook,
    AnsweredRequest,
    Budget,
    Count,
    MachineSighting,
    ProcessBeat,
    ProviderCall,
)
from pipeline.models.telemetry import MetricPoint
from tests.factories import make_running_job
from tests.pipeline.api.conftest import ACCOUNT_KEY, fill

CODE_KEY = "0123456789abcdef0123456789abcdef01234567"
# The registry itself fills when the URLs load, which is after the tests are collected.
MODELS = [
    *(f"auth.{name}" for name in ("group", "user")),
    "datasets.dataset",
    *(f"django_celery_beat.{name}schedule" for name in ("clocked", "crontab", "interval", "solar")),
    "django_celery_beat.periodictask",
    *(f"notifications.{name}" for name in ("delivery", "destination", "notification")),
    "otp_totp.totpdevice",
    *(
        f"pipeline.{name}"
        for name in (
            "accountlook", "answeredrequest", "apitoken", "artifact", "attempt", "budget", "costrecord", "count",
            "credential", "job", "jobevent", "logline", "machinesighting", "preset", "processbeat", "providercall",
            "rule", "sample",
        )
    ),
]  # fmt: skip


@pytest.fixture
def everything(things: Any) -> None:
    ProcessBeat.objects.create(name="beat", at=timezone.now())
    ProviderCall.objects.create(attempt=things.attempt, op="create", outcome="unknown", detail="<b>lost</b>")
    owner, now = things.running.owner, timezone.now()
    told = Notification.objects.create(owner=owner, type="job_started", title="x", job=things.running)
    to = Destination.objects.create(owner=owner, kind="webhook", name="hook", sealed=b"sealed", hint="example.org")
    Delivery.objects.create(notification=told, destination=to, since=now, next_try_at=now)
    TOTPDevice.objects.create(user=owner, name="app", key=CODE_KEY)
    AnsweredRequest.objects.create(
        owner=owner, key="k", asked="POST /api/tokens/", fingerprint="f", body="stk_u_secret"
    )
    Count.objects.create(key="stoker:tried:sign-in:0", count=1, until=now)
    Group.objects.create(name="operators")
    Budget.objects.create(owner=things.running.owner, monthly_limit=20)
    AccountLook.objects.create(provider="scripted", worked_at=now)
    MachineSighting.objects.create(
        provider="scripted", name=things.attempt.name, external_id="m1", attempt=things.attempt, verdict="owned",
        state="running", first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    CrontabSchedule.objects.create()
    SolarSchedule.objects.create(event="sunset", latitude=1, longitude=1)
    ClockedSchedule.objects.create(clocked_time=timezone.now())


def test_the_list_of_pages_here_is_complete():
    assert sorted(MODELS) == sorted(model._meta.label_lower for model in admin.site._registry)


def test_no_page_shows_what_codes_are_made_from_or_what_was_answered(operator, everything):
    for model, secret in ((TOTPDevice, CODE_KEY), (AnsweredRequest, "stk_u_secret")):
        path = reverse(f"admin:{model._meta.label_lower.replace('.', '_')}_change", args=[model.objects.get().pk])
        page = operator.get(path)
        assert page.status_code == 200
        assert secret not in page.content.decode()
        assert operator.get(path.replace("change/", "qrcode/")).status_code in (302, 404)


def test_every_model_of_ours_has_a_page():
    ours = [
        model for app in ("pipeline", "notifications", "datasets") for model in apps.get_app_config(app).get_models()
    ]
    # A composite key keeps points out of the admin, and choices belong to destinations: other pages show them.
    assert {model for model in ours if model not in admin.site._registry} == {MetricPoint, Subscription}


@pytest.mark.parametrize("label", MODELS)
def test_pages_open(operator, everything, label):
    app, name = label.split(".")
    model_admin = next(one for model, one in admin.site._registry.items() if model._meta.label_lower == label)
    page = operator.get(reverse(f"admin:{app}_{name}_changelist"))
    assert page.status_code == 200
    assert "/favicon.svg" in page.content.decode()
    row = model_admin.model._default_manager.first()
    assert row is not None, "nothing to show"
    assert operator.get(reverse(f"admin:{app}_{name}_change", args=[row.pk])).status_code == 200
    request = operator.get("/admin/").wsgi_request
    if model_admin.has_add_permission(request):
        assert operator.get(reverse(f"admin:{app}_{name}_add")).status_code == 200


@pytest.mark.parametrize("label", MODELS)
def test_search_works(operator, everything, label):
    app, name = label.split(".")
    assert operator.get(reverse(f"admin:{app}_{name}_changelist"), {"q": "x'%"}).status_code == 200


def test_people_who_are_no_staff_stay_outside(owner, things):
    for path in ("/admin/", f"/admin/pipeline/job/{things.running.pk}/change/"):
        assert owner.browser.get(path).status_code == 302


def test_the_page_of_a_job_shows_metrics_calls_and_events(operator, everything, things):
    page = operator.get(reverse("admin:pipeline_job_change", args=[things.running.pk])).content.decode()
    assert "tokens_per_second" in page
    assert "NaN" in page
    assert "Something odd." in page
    assert "&lt;b&gt;lost&lt;/b&gt;" in page


def test_no_page_shows_the_hash_of_a_token(operator, everything, things):
    for path in (
        reverse("admin:pipeline_apitoken_change", args=[things.token.pk]),
        reverse("admin:pipeline_attempt_change", args=[things.attempt.pk]),
        reverse("admin:pipeline_apitoken_changelist"),
    ):
        page = operator.get(path).content.decode()
        assert things.token.token_hash not in page
        assert things.attempt.token_hash not in page


def test_no_page_shows_a_key_sealed_or_not(operator, things):
    sealed = bytes(things.credential.secret)
    for path in (
        reverse("admin:pipeline_credential_changelist"),
        reverse("admin:pipeline_credential_change", args=[things.credential.pk]),
    ):
        page = operator.get(path).content
        assert things.credential.hint.encode() in page
        assert ACCOUNT_KEY.encode() not in page
        assert sealed not in page
        assert sealed.hex().encode() not in page


@pytest.mark.parametrize("name", ["job", "attempt", "jobevent", "logline", "costrecord"])
def test_lists_need_no_more_queries_for_many_rows(operator, owner, things, name):
    path = reverse(f"admin:pipeline_{name}_changelist")
    operator.get(path)
    with CaptureQueriesContext(connection) as few:
        operator.get(path)
    for _ in range(4):
        fill(make_running_job(owner.user)[0])
    with CaptureQueriesContext(connection) as many:
        operator.get(path)
    assert len(many) == len(few)
