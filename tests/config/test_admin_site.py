"""Who gets into the admin: from which addresses, with which code; and where it is."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from pipeline.config import second_factor
from pipeline.config.env import Env, Refused
from pipeline.config.supervisor import ROOT
from tests.conftest import OUTSIDE

pytestmark = pytest.mark.django_db
PAGES = ("/admin/", "/admin/pipeline/job/", "/admin/audit/")


@pytest.fixture
def olga() -> User:
    return User.objects.create_superuser("olga", password="a long enough one")


@pytest.fixture
def browser(olga: User) -> Client:
    client = Client()
    client.force_login(olga)
    return client


@pytest.fixture
def with_codes(settings: Any) -> None:
    settings.STOKER_ADMIN_TOTP = True
    after = settings.MIDDLEWARE.index("django.contrib.auth.middleware.AuthenticationMiddleware") + 1
    settings.MIDDLEWARE = [*settings.MIDDLEWARE]
    settings.MIDDLEWARE.insert(after, "django_otp.middleware.OTPMiddleware")


def code_of(user: User, *, ago: int = 0) -> str:
    device = TOTPDevice.objects.get(user=user)
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time() - ago
    return f"{totp.token():06d}"


def test_a_password_alone_does_not_open_it(browser: Client, with_codes: None) -> None:
    for page in PAGES:
        answer = browser.get(page)
        assert answer.status_code == 302
        assert answer.url == f"/admin/login/?next={page}"
    assert browser.get("/jobs/").status_code == 200, "the rest of the product asks for no code"


def test_the_code_of_the_app_opens_it_once_and_leads_on(browser: Client, olga: User, with_codes: None) -> None:
    second_factor.enrol(olga)
    page = browser.get("/admin/login/?next=/admin/audit/")
    assert "Give the code that your app shows" in page.content.decode()
    code = code_of(olga)
    answer = browser.post("/admin/login/", {"code": f"{code[:3]} {code[3:]}", "next": "/admin/audit/"})
    assert (answer.status_code, answer.url) == (302, "/admin/audit/")
    assert all(browser.get(page).status_code == 200 for page in PAGES)
    again = Client()
    again.force_login(olga)
    assert "This code is not right" in again.post("/admin/login/", {"code": code}).content.decode()


def test_wrong_codes_bring_a_pause(browser: Client, olga: User, with_codes: None) -> None:
    second_factor.enrol(olga)
    right = code_of(olga)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    for given in (wrong, wrong, right):
        assert browser.post("/admin/login/", {"code": given}).status_code == 200
    assert browser.get("/admin/").status_code == 302


def test_an_old_code_is_worth_nothing(browser: Client, olga: User, with_codes: None) -> None:
    second_factor.enrol(olga)
    browser.post("/admin/login/", {"code": code_of(olga, ago=300)})
    assert browser.get("/admin/").status_code == 302


def test_without_an_app_it_is_said_what_to_do(browser: Client, with_codes: None) -> None:
    page = browser.post("/admin/login/", {"code": "123456"}).content.decode()
    assert "manage.py second_factor olga" in page


def test_somebody_signed_out_signs_in_first(with_codes: None, db: Any) -> None:
    answer = Client().get("/admin/login/?next=/admin/audit/")
    assert answer.url == "/sign-in/?next=%2Fadmin%2Faudit%2F"


def test_nobody_is_led_to_another_site(browser: Client, olga: User, with_codes: None) -> None:
    second_factor.enrol(olga)
    answer = browser.post("/admin/login/", {"code": code_of(olga), "next": "https://example.org/"})
    assert answer.url == "/admin/"


def test_a_code_makes_nobody_an_operator(owner: Any, with_codes: None) -> None:
    second_factor.enrol(owner.user)
    page = owner.browser.post("/admin/login/", {"code": code_of(owner.user)})
    assert "who is no operator" in page.content.decode()
    assert owner.browser.get("/admin/").status_code == 302


@pytest.mark.parametrize("address", ["10.1.2.3", "192.0.2.7", "::ffff:10.1.2.3"])
def test_it_is_there_for_allowed_addresses(browser: Client, settings: Any, address: str) -> None:
    settings.STOKER_ADMIN_ADDRESSES = Env({"A": "10.0.0.0/8, 192.0.2.7"}).networks("A")
    assert browser.get("/admin/", REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize("address", ["203.0.113.5", "192.0.2.8", "2001:db8::1", "unix", ""])
def test_to_others_it_does_not_exist(browser: Client, settings: Any, address: str) -> None:
    settings.STOKER_ADMIN_ADDRESSES = Env({"A": "10.0.0.0/8, 192.0.2.7"}).networks("A")
    for page in (*PAGES, "/admin/login/", "/admin/nowhere/"):
        assert browser.get(page, REMOTE_ADDR=address).status_code == 404, page
    assert browser.get("/jobs/", REMOTE_ADDR=address).status_code == 200


def test_a_claimed_address_counts_only_behind_a_trusted_proxy(browser: Client, settings: Any) -> None:
    settings.STOKER_ADMIN_ADDRESSES = Env({"A": "10.0.0.0/8"}).networks("A")
    claim = {"headers": {"x-forwarded-for": "10.1.2.3"}, "REMOTE_ADDR": "203.0.113.5"}
    assert browser.get("/admin/", **claim).status_code == 404
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    assert browser.get("/admin/", **claim).status_code == 200


def test_it_can_be_elsewhere(tmp_path: Any) -> None:
    program = (
        "import django; django.setup()\n"
        "from django.conf import settings; from django.urls import reverse\n"
        "print(reverse('admin:index'), *settings.STOKER_RELAXED_POLICIES)"
    )
    environment = {
        **OUTSIDE, "STOKER_HOME": str(tmp_path), "STOKER_ADMIN_PATH": "/boiler-room/",
        "DJANGO_SETTINGS_MODULE": "pipeline.config.settings", "DATABASE_URL": "postgresql:///x",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["/boiler-room/", "/boiler-room/"]


@pytest.mark.parametrize("path", ["api", "jobs", "a/b", "ad min", "ä"])
def test_a_path_that_is_taken_or_no_word_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="must be one word"):
        Env({"P": path}).folder("P", "admin")


def test_what_is_no_address_or_no_digits_is_refused() -> None:
    with pytest.raises(Refused, match="neither an address nor a network"):
        Env({"A": "10.0.0.1/8"}).networks("A")
    with pytest.raises(Refused, match="8 hex digits"):
        Env({"I": "xyz"}).digits("I", 8)
    assert Env({"I": "0123abcd"}).digits("I", 8) == "0123abcd"
