"""The accounts at providers on the settings page, in each state, for their owner alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from pipeline import accounts
from pipeline.models import Credential
from pipeline.providers.base import AuthError
from pipeline.services import credentials
from tests.conftest import Person
from tests.fakes.provider import RentedProvider, World

KEY = "rpa_canary-of-the-page"
FRAGMENT = {"X-Fragment": "1"}


@pytest.fixture(autouse=True)
def rented(settings: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    settings.STOKER_PROVIDERS = {
        "scripted": "tests.fakes.provider.ScriptedProvider",
        "rented": "tests.fakes.provider.RentedProvider",
    }
    world = World(accounts={KEY: "ada@lab"})
    monkeypatch.setattr(RentedProvider, "world", world)
    return world


def page_of(person: Person, **options: Any) -> str:
    return re.sub(r"\s+", " ", person.browser.get("/settings/", **options).content.decode())


def save(person: Person, **fields: Any) -> Credential:
    return credentials.save(person.user, "rented", secret=KEY, **fields)


def test_without_a_key_the_page_offers_to_add_one(owner: Person) -> None:
    page = page_of(owner)
    assert "No key yet" in page
    assert "Add key" in page
    assert 'data-act="remove"' not in page
    assert 'data-account="scripted"' not in page


def test_a_key_that_works_shows_what_is_known_and_never_itself(owner: Person) -> None:
    save(owner, options={"idempotent": True, "region": "north"})
    Credential.objects.update(balance=12.5, spend_per_hour=0.5, balance_at=Credential.objects.get().checked_at)
    page = page_of(owner)
    assert "Works" in page
    assert "…page" in page
    assert "ada@lab" in page
    assert "$12.50" in page
    assert 'data-option="idempotent" checked' in page
    assert 'value="north"' in page
    assert KEY not in page
    assert re.search(r'<input class="input mono" type="password"[^>]*autocomplete="off"', page)
    assert not re.search(r'type="password"[^>]*value=', page)


def test_a_problem_is_said(owner: Person) -> None:
    accounts.refused(save(owner), AuthError("It was <b>revoked</b>."))
    page = page_of(owner)
    assert "Does not work" in page
    assert "It was &lt;b&gt;revoked&lt;/b&gt;." in page


def test_others_see_nothing_of_it(owner: Person, stranger: Person, signed_out: Person) -> None:
    save(owner)
    assert "ada@lab" not in page_of(stranger)
    assert "No key yet" in page_of(stranger)
    assert signed_out.browser.get("/settings/")["Location"].startswith("/sign-in/")
    assert signed_out.browser.get("/settings/", headers=FRAGMENT)["Location"].startswith("/sign-in/")


def test_the_fragment_is_the_accounts_alone(owner: Person) -> None:
    save(owner)
    page = page_of(owner, headers=FRAGMENT)
    assert page.count("<article") == 1
    assert "<html" not in page
    assert "API tokens" not in page


def test_an_installation_without_such_providers_shows_no_accounts(owner: Person, settings: Any) -> None:
    del settings.STOKER_PROVIDERS["rented"]
    page = page_of(owner)
    assert "Provider accounts" not in page
    assert "provider_accounts.js" not in page


def test_neither_page_nor_fragment_is_kept_by_browsers(owner: Person) -> None:
    client: Client = owner.browser
    assert "no-store" in client.get("/settings/")["Cache-Control"]
