"""The table of machines for a new job: one answer, whatever is missing in the form and whoever does not answer."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from pipeline import market
from pipeline.providers.base import Offer, Unavailable
from tests.factories import make_dataset
from tests.pipeline.api.test_fuzz import FIELDS, anything, calm, is_an_answer

LARGE = {"per_device_train_batch_size": 4}


def ask(person: Any, **body: Any) -> dict[str, Any]:
    answer = person.api.post("/api/offers/", body, format="json")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def by_type(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["type"]: row for row in found["offers"]}


class TestRows:
    def test_an_empty_form_shows_machines_and_prices_and_claims_nothing(self, owner: Any) -> None:
        found = ask(owner)
        assert found["model"] == {"parameters": None, "guessed": False}
        box = by_type(found)["box"]
        assert (box["price_per_hour"], box["fits"], box["needs_gb"], box["total"]) == (
            "3.600000",
            "unknown",
            None,
            None,
        )
        assert (box["confidence"], box["basis"]) == ("none", "Choose a dataset and a model first.")

    def test_what_fits_follows_model_and_settings(self, owner: Any) -> None:
        model = "meta-llama/Llama-3.1-8B-Instruct"
        rows = by_type(ask(owner, base_model=model, hyperparameters={"max_length": 2048, **LARGE}))
        assert (rows["box"]["fits"], rows["big"]["fits"]) == ("tight", "yes")
        assert 20 < rows["box"]["needs_gb"] < 26
        smaller = by_type(ask(owner, base_model=model, hyperparameters={"quantization": "4bit"}))
        assert smaller["box"]["fits"] == "yes"
        larger = by_type(ask(owner, base_model="someone/llama-70b"))
        assert (larger["box"]["fits"], larger["big"]["fits"]) == ("no", "no")

    def test_a_guess_of_the_size_says_so(self, owner: Any) -> None:
        assert ask(owner, base_model="someone/llama-13b")["model"] == {"parameters": 13e9, "guessed": True}

    def test_short_rows_take_less_memory(self, owner: Any) -> None:
        dataset = make_dataset(owner.user, report={"tokens": {"mean": 50, "max": 80}})
        asked: Any = {"base_model": "Qwen/Qwen2.5-7B-Instruct", "hyperparameters": {"max_length": 8192}}
        found = ask(owner, dataset=str(dataset.pk), **asked)
        assert found["longest_row"] == 80
        assert by_type(found)["box"]["needs_gb"] < by_type(ask(owner, **asked))["box"]["needs_gb"]

    def test_several_gpus_cost_several_times_as_far_as_there_are_as_many(self, owner: Any) -> None:
        rows = by_type(ask(owner, gpu_config={"count": 4}))
        assert [(rows[name]["count"], rows[name]["price_per_hour"]) for name in ("box", "big")] == [
            (4, "14.400000"), (1, "7.200000"),
        ]  # fmt: skip

    def test_a_value_that_cannot_be_used_is_named_and_the_rest_is_answered(self, owner: Any) -> None:
        found = ask(owner, hyperparameters={"learning_rate": 7, "nonsense": 1})
        assert [one["field"] for one in found["problems"]] == [
            "hyperparameters.learning_rate", "hyperparameters.nonsense",
        ]  # fmt: skip
        assert found["offers"]

    def test_nobody_learns_of_anothers_dataset(self, owner: Any, stranger: Any) -> None:
        dataset = make_dataset(owner.user)
        answer = stranger.api.post("/api/offers/", {"dataset": str(dataset.pk)}, format="json")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "dataset")

    def test_more_machines_are_no_more_queries(self, owner: Any, ready_dataset: Any, monkeypatch: Any) -> None:
        asked = {"dataset": str(ready_dataset.pk), "base_model": "Qwen/Qwen3-8B"}
        with CaptureQueriesContext(connection) as few:
            ask(owner, **asked)
        many = [Offer("scripted", f"kind {n}", f"Kind {n}", Decimal(1), memory_gb=24) for n in range(60)]
        monkeypatch.setattr("tests.fakes.provider.ScriptedProvider.offers", lambda self: many)
        with CaptureQueriesContext(connection) as more:
            assert len(ask(owner, **asked)["offers"]) == 60
        assert len(more) == len(few) <= 5, [query["sql"] for query in more]

    @calm
    @given(changes=st.dictionaries(st.sampled_from(FIELDS), anything, min_size=1, max_size=3))
    def test_any_body(self, owner: Any, job_body: Any, changes: Any) -> None:
        is_an_answer(owner.api.post("/api/offers/", job_body | changes, format="json"), 200, 400)


class Slow:
    """Answers when it is let go, which is after everybody has stopped waiting for it."""

    name, label, simulated, needs_account = "slow", "Slow cloud", False, False
    may_go = threading.Event()

    def __init__(self, account: object = None) -> None: ...

    def offers(self) -> list[Offer]:
        self.may_go.wait(20)
        return []


class Down(Slow):
    label = "Down cloud"

    def offers(self) -> list[Offer]:
        raise Unavailable("Down cloud answers with an error.")


class Odd(Slow):
    label = "Odd cloud"

    def offers(self) -> list[Offer]:
        raise ValueError("a secret detail")


class TestProviders:
    def test_one_that_is_slow_down_or_broken_says_so_and_spoils_nothing(
        self, owner: Any, settings: Any, monkeypatch: Any
    ) -> None:
        names = {name.lower(): f"{__name__}.{name}" for name in ("Slow", "Down", "Odd")}
        settings.STOKER_PROVIDERS = names | settings.STOKER_PROVIDERS
        monkeypatch.setattr(market, "PATIENCE", 0.3)
        try:
            found = ask(owner)
        finally:
            Slow.may_go.set()
        problems = {one["name"]: one["problem"] for one in found["providers"]}
        assert problems == {
            "slow": "Slow cloud has not answered in time. Try again in a minute.",
            "down": "Down cloud answers with an error.",
            "odd": "Odd cloud could not be asked for its machines. Try again in a minute.",
            "scripted": "",
        }
        assert {row["provider"] for row in found["offers"]} == {"scripted"}

    def test_one_without_a_key_is_shown_without_machines(self, owner: Any, stranger: Any, things: Any) -> None:
        def rented(person: Any) -> dict[str, Any]:
            return next(one for one in ask(person)["providers"] if one["name"] == "rented")

        assert (rented(owner)["has_account"], rented(owner)["problem"]) == (True, "")
        assert rented(stranger)["has_account"] is False
        assert {row["provider"] for row in ask(stranger)["offers"]} == {"scripted"}


@pytest.mark.parametrize(
    ("stock", "available", "told"),
    [("none", None, False), ("low", 0, True), ("", 0, False), ("", 3, True), ("", None, None)],
)
def test_in_stock_is_what_the_provider_says(
    owner: Any, monkeypatch: Any, stock: str, available: int | None, told: bool | None
) -> None:
    offer = Offer("scripted", "box", "A box", Decimal(1), stock=stock, available=available)
    monkeypatch.setattr("tests.fakes.provider.ScriptedProvider.offers", lambda self: [offer])
    assert ask(owner)["offers"][0]["in_stock"] is told
