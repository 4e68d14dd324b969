from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from pipeline.models import Credential
from pipeline.providers.base import Account, Unavailable
from tests.factories import make_attempt
from tests.pipeline.api.conftest import ACCOUNT_KEY

pytestmark = pytest.mark.usefixtures("rented")

LIST, ONE, CHECK = "/api/credentials/", "/api/credentials/rented/", "/api/credentials/rented/check/"
SHOWN = {
    "provider", "hint", "account_name", "base_url", "options", "checked_at", "problem", "balance", "spend_per_hour",
    "balance_at", "updated_at",
}  # fmt: skip


def put(person: Any, **body: Any) -> Any:
    return person.api.put(ONE, {"secret": ACCOUNT_KEY} | body, format="json")


def test_a_key_goes_in_and_never_comes_out(owner):
    answer = put(owner, options={"idempotent": True})
    assert answer.status_code == 200
    assert set(answer.json()) == SHOWN
    (listed,) = owner.api.get(LIST).json()["results"]
    assert listed == answer.json()
    assert (listed["hint"], listed["account_name"], listed["options"]) == ("wner", "owner@lab", {"idempotent": True})
    everything = answer.content + owner.api.get(LIST).content + owner.api.post(CHECK).content
    assert ACCOUNT_KEY.encode() not in everything
    assert b"secret" not in everything


def test_each_person_has_keys_of_their_own(owner, stranger, rented):
    rented.accounts["rpa_key-of-a-stranger"] = "stranger@lab"
    put(owner)
    put(stranger, secret="rpa_key-of-a-stranger")
    assert owner.api.get(LIST).json()["results"][0]["account_name"] == "owner@lab"
    assert stranger.api.delete(ONE).status_code == 204
    assert Credential.objects.get().owner == owner.user


def test_a_refused_key_is_a_sentence_at_its_field(owner):
    answer = put(owner, secret="rpa_wrong-key")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["field"], error["code"]) == ("secret", "refused")
    assert "does not accept this key" in error["message"]
    assert "rpa_wrong-key" not in answer.content.decode()


def test_a_provider_that_does_not_answer_is_tried_later(owner, rented):
    def fault(operation: str, account: Account) -> None:
        raise Unavailable("Rented does not answer.")

    rented.fault = fault
    answer = put(owner)
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert answer.json()["detail"] == "The key could not be checked. Rented does not answer. Try again in a minute."
    assert not Credential.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"secret": None}, "secret"),
        ({"secret": ""}, "secret"),
        ({"secret": ["rpa_list-of-one"]}, "secret"),
        ({"base_url": "https://127.0.0.1"}, "base_url"),
        ({"options": []}, "options"),
        ({"options": {"nope": 1}}, "options"),
        ({"hint": "abcd"}, "hint"),
        ({"sekret": "x"}, "sekret"),
    ],
)
def test_a_wrong_request_is_refused(owner, body, field):
    answer = put(owner, **body)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not Credential.objects.exists()


def test_a_provider_without_accounts_takes_none(owner):
    answer = owner.api.put("/api/credentials/scripted/", {"secret": ACCOUNT_KEY}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "no_account")
    assert owner.api.put("/api/credentials/nowhere/", {"secret": ACCOUNT_KEY}, format="json").status_code == 404


def test_what_cannot_be_removed_says_why(owner, things):
    make_attempt(things.saved, credential=things.credential)
    answer = owner.api.delete(ONE)
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    assert "wait until they have ended" in answer.json()["detail"]


def test_a_check_tells_what_the_provider_says_now(owner, things, rented):
    assert owner.api.post(CHECK).json()["problem"] == ""
    rented.accounts.clear()
    assert "does not accept this key" in owner.api.post(CHECK).json()["problem"]


def test_many_need_no_more_queries_than_one(owner, things):
    counts = []
    for name in ("b", "c"):
        with CaptureQueriesContext(connection) as queries:
            owner.api.get(LIST)
        counts.append(len(queries))
        Credential.objects.create(owner=owner.user, provider=name, secret=b"")
    assert counts[0] == counts[1]
