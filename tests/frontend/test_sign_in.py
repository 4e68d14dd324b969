from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.core.cache import cache
from django.test import Client

from frontend.signin import FOR_ONE_NAME, FROM_ONE_ADDRESS, make_link
from pipeline import throttles
from tests.conftest import Person
from tests.factories import make_user


@pytest.fixture(autouse=True)
def nothing_counted(services: None) -> None:
    cache.clear()
    throttles.reset()


@pytest.fixture(params=["with Redis", "without Redis"])
def counted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """The brake holds whether Redis counts or PostgreSQL. Passwords are hashed quickly, for there are many."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if request.param == "without Redis":
        monkeypatch.setattr(throttles, "_may_ask", lambda: False)


def test_pages_lead_a_signed_out_person_to_the_sign_in(signed_out: Person) -> None:
    for path in ("/jobs/", "/jobs/new/", "/datasets/", "/datasets/new/", "/settings/"):
        answer = signed_out.browser.get(path)
        assert answer.status_code == 302
        assert answer["Location"] == f"/sign-in/?next={path}"


def test_signing_in_and_out(db: None) -> None:
    make_user("ada", password="correct horse battery")
    browser = Client()
    answer = browser.post("/sign-in/", {"username": "ada", "password": "correct horse battery", "next": "/datasets/"})
    assert answer["Location"] == "/datasets/"
    assert browser.get("/jobs/").status_code == 200
    assert browser.get("/sign-out/").status_code == 405
    assert browser.post("/sign-out/")["Location"] == "/sign-in/"
    assert browser.get("/jobs/").status_code == 302


def test_a_wrong_password_is_told_without_saying_which_of_both_is_wrong(db: None) -> None:
    make_user("ada", password="correct horse battery")
    for name in ("ada", "nobody"):
        page = Client().post("/sign-in/", {"username": name, "password": "wrong"}).content.decode()
        assert "This name and password do not belong together." in page


def test_next_leads_to_no_other_site(db: None) -> None:
    make_user("ada", password="correct horse battery")
    form = {"username": "ada", "password": "correct horse battery", "next": "https://evil.example/"}
    assert Client().post("/sign-in/", form)["Location"] == "/jobs/"


def test_ten_wrong_passwords_close_the_name_for_this_address(db: None, counted: None) -> None:
    make_user("ada", password="correct horse battery")
    browser = Client()
    for _ in range(FOR_ONE_NAME.times):
        assert browser.post("/sign-in/", {"username": "ada", "password": "wrong"}).status_code == 200
    answer = browser.post("/sign-in/", {"username": "Ada", "password": "correct horse battery"})
    assert answer.status_code == 429
    assert 890 <= int(answer["Retry-After"]) <= 900
    assert "Wait 15 minutes" in answer.content.decode()
    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    assert elsewhere.post("/sign-in/", {"username": "ada", "password": "correct horse battery"}).status_code == 302


def test_the_right_password_begins_the_count_again_for_the_name_and_not_for_the_address(
    db: None, counted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.signin.FROM_ONE_ADDRESS", replace(FROM_ONE_ADDRESS, times=20))
    make_user("ada", password="correct horse battery")
    for _ in range(2):
        for _ in range(FOR_ONE_NAME.times - 1):
            assert Client().post("/sign-in/", {"username": "ada", "password": "wrong"}).status_code == 200
        right = {"username": "ada", "password": "correct horse battery"}
        assert Client().post("/sign-in/", right).status_code == 302
    assert Client().post("/sign-in/", {"username": "bob", "password": "wrong"}).status_code == 429


def test_the_admins_own_page_has_the_same_brake(db: None, counted: None) -> None:
    make_user("ada", password="correct horse battery", is_staff=True)
    eve = Client()
    eve.force_login(make_user("eve", is_staff=True))  # being signed in does not let her guess
    for _ in range(FOR_ONE_NAME.times):
        assert eve.post("/admin/login/", {"username": "ada", "password": "wrong"}).status_code == 200
    answer = eve.post("/admin/login/", {"username": "ada", "password": "correct horse battery"})
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.content.decode()
    answer = Client(REMOTE_ADDR="203.0.113.9").post(
        "/admin/login/?next=/admin/", {"username": "ada", "password": "correct horse battery"}
    )
    assert answer["Location"] == "/admin/"


def test_a_link_signs_in_once(db: None) -> None:
    link = make_link(make_user("ada"), "/datasets/")
    first, second = Client(), Client()
    assert first.get(link)["Location"] == "/datasets/"
    assert first.get("/jobs/").status_code == 200
    answer = second.get(link)
    assert answer.status_code == 410
    assert "has been used" in answer.content.decode()
    assert second.get("/jobs/").status_code == 302


def test_a_used_link_leads_the_person_on_whom_it_signed_in(db: None) -> None:
    link = make_link(make_user("ada"), "/datasets/")
    browser = Client()
    browser.get(link)
    assert browser.get(link)["Location"] == "/datasets/"
    other = Client()
    other.force_login(make_user("bob"))
    answer = other.get(link)
    assert answer.status_code == 410
    assert "js/shell.js" not in answer.content.decode()  # which would look for a header that this page does not have


def test_an_old_link_is_refused(db: None) -> None:
    user = make_user("ada")
    with mock.patch("django.core.signing.time.time", return_value=(datetime.now() - timedelta(minutes=31)).timestamp()):
        link = make_link(user)
    answer = Client().get(link)
    assert answer.status_code == 410
    assert "older than 30 minutes" in answer.content.decode()


def test_a_changed_link_is_refused(db: None) -> None:
    link = make_link(make_user("ada"))
    answer = Client().get(link[:-3] + "xx/")
    assert answer.status_code == 410


def test_a_link_of_a_closed_account_is_refused(db: None) -> None:
    user = make_user("ada")
    link = make_link(user)
    user.is_active = False
    user.save()
    assert Client().get(link).status_code == 410


def test_a_link_leads_to_no_other_site(db: None) -> None:
    link = make_link(make_user("ada"), "//evil.example/")
    assert Client().get(link)["Location"] == "/jobs/"
