"""Asking RunPod for machines: accounts, offers, and every answer a request for a pod may get.

An imitated RunPod on localhost gives the answers; tests/pipeline/providers/test_runpod_machines.py has what follows.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipeline.providers.base import (
    Account,
    AuthError,
    Balance,
    ChecksAccount,
    HasBalance,
    HasBill,
    MachineRef,
    NoCapacity,
    NoFunds,
    NotSent,
    ProviderError,
    Refused,
    Unavailable,
)
from pipeline.providers.runpod import RunPodProvider, catalog, client, provider
from tests.pipeline.providers.harness import TOKEN, is_sentence
from tests.pipeline.providers.runpod_harness import GPU, IMAGE, KEY, RunPodHarness, create, look, pod_of, ref

OTHER_GPU = "NVIDIA L4"


def fails_to_create(runpod: RunPodHarness, **values: Any) -> tuple[ProviderError, str]:
    """The error, and the name that was asked for."""
    request = runpod.request(runpod.new_name(), **values)
    with pytest.raises(ProviderError) as caught:
        runpod.provider().create(request)
    assert is_sentence(str(caught.value))
    return caught.value, request.name


class TestAccount:
    def test_without_a_key_there_is_no_provider(self) -> None:
        with pytest.raises(AuthError):
            RunPodProvider(None)

    def test_it_fulfils_what_accounts_and_money_ask_for(self, runpod: RunPodHarness) -> None:
        made = runpod.provider()
        assert isinstance(made, ChecksAccount)
        assert isinstance(made, HasBalance)
        assert isinstance(made, HasBill)

    def test_a_key_is_checked_with_one_call(self, runpod: RunPodHarness) -> None:
        assert runpod.provider().check_account() == ""  # type: ignore[attr-defined]
        assert [call.operation for call in runpod.fake.calls()] == ["list"]

    def test_a_wrong_key_is_said_to_be_one(self, runpod: RunPodHarness) -> None:
        with pytest.raises(AuthError) as caught:
            RunPodProvider(Account("x", "rpa_wrong")).check_account()
        assert is_sentence(str(caught.value))
        assert "rpa_wrong" not in str(caught.value)

    def test_a_revoked_key_says_nothing_about_machines(self, runpod: RunPodHarness) -> None:
        machine = create(runpod)
        runpod.fake.account(KEY, revoked=True)
        for call in (lambda: look(runpod, ref(machine)), runpod.provider().inventory):
            with pytest.raises(AuthError):
                call()

    def test_a_key_that_may_not_read_pods_is_an_error_of_the_key(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("error", status=403, detail="this key may not read pods")
        with pytest.raises(AuthError, match="may not read pods"):
            runpod.provider().check_account()  # type: ignore[attr-defined]

    def test_the_key_is_in_no_message_no_log_and_no_repr(
        self, runpod: RunPodHarness, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        error, _ = fails_to_create(runpod, gpu_type="abacus")
        runpod.cut_off()
        made = runpod.provider()
        with pytest.raises(Unavailable) as caught:
            made.inventory()
        shown = f"{error!r} {caught.value!r} {caught.value.__cause__!r} {vars(made)!r} {caplog.text}"
        assert KEY not in shown

    def test_the_balance_is_told_or_left_open(self, runpod: RunPodHarness) -> None:
        create(runpod)
        balance = runpod.provider().balance()  # type: ignore[attr-defined]
        assert isinstance(balance, Balance)
        assert Decimal(999) < balance.amount <= Decimal(1000)
        assert balance.spend_per_hour == Decimal("0.25")
        runpod.fake.fault("error", operation="graphql", status=410)
        assert runpod.provider().balance() is None  # type: ignore[attr-defined]

    def test_the_bill_is_read_once_there_is_one(self, runpod: RunPodHarness) -> None:
        machine, other = create(runpod), create(runpod, gpu_type=OTHER_GPU)
        made, since = runpod.provider(), datetime.now(UTC) - timedelta(minutes=1)
        runpod.fake.api.rest.billing_lag = 7200
        assert made.billed(machine.external_id, since) is None  # type: ignore[attr-defined]
        runpod.fake.clock.advance(3600)
        runpod.fake.api.rest.billing_lag = 0
        runpod.fake.world.delete(pod_of(runpod.fake, machine.name))
        billed = made.billed(machine.external_id, since)  # type: ignore[attr-defined]
        assert billed is not None
        assert abs(billed - Decimal("0.25")) < Decimal("0.01")
        assert made.billed(other.external_id, since) > billed  # type: ignore[attr-defined]


class TestOffers:
    def test_each_cloud_is_an_offer_of_its_own_with_price_and_stock(self, runpod: RunPodHarness) -> None:
        offers = {(offer.type, offer.cloud): offer for offer in runpod.provider().offers()}
        secure, community = offers[GPU, "SECURE"], offers[GPU, "COMMUNITY"]
        assert (secure.price_per_hour, community.price_per_hour) == (Decimal("0.25"), Decimal("0.17"))
        assert (secure.max_count, community.max_count) == (8, 4)
        assert (secure.stock, secure.memory_gb, secure.note) == ("high", 16.0, "")
        assert (OTHER_GPU, "COMMUNITY") not in offers

    def test_they_are_asked_for_once_a_minute(self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        runpod.provider().offers()
        runpod.provider().offers()
        assert len(runpod.fake.calls("gpus")) == 2  # one for each cloud
        monkeypatch.setattr(catalog, "KEEP_SECONDS", 0)
        runpod.provider().offers()
        assert len(runpod.fake.calls("gpus")) == 4

    @pytest.mark.parametrize(
        ("name", "value", "word"),
        [("RUNPOD_IMAGE", "", "RUNPOD_IMAGE"), ("RUNPOD_API_URL", "https://api.example/v2", "STOKER_PUBLIC_URL")],
    )
    def test_what_the_installation_lacks_is_said_before_anything_is_rented(
        self, runpod: RunPodHarness, settings: Any, name: str, value: str, word: str
    ) -> None:
        made = runpod.provider()
        setattr(settings, name, value)
        assert all(word in offer.note for offer in made.offers())
        with pytest.raises(Refused, match=word):
            made.create(runpod.request(runpod.new_name()))
        assert runpod.fake.calls("create") == []

    def test_odd_entries_of_the_catalogue_are_left_out(self, runpod: RunPodHarness) -> None:
        rows = [
            {"id": "unknown", "price": {"secure": 1}},
            {"id": "AMD Instinct MI300X OAM", "price": {"secure": 1}},
            {"id": "A", "price": None},
            {"id": "B", "price": {"secure": "much"}},
            {"id": "C", "secure": False, "price": {"secure": 1}},
            {"id": 7, "price": {"secure": 1}},
            {"id": "D", "price": {"secure": "0.5"}, "maxCount": None, "memory": "?", "availability": 3, "name": None},
        ]

        class Odd(client.Client):
            def gpus(self, cloud: str) -> list[dict[str, Any]]:
                return [row for row in rows if isinstance(row["id"], str)]

        (kind,) = catalog.catalog(Odd(KEY), "odd").values()
        assert (kind.type, kind.price, kind.max_count, kind.memory_gb, kind.stock) == ("D", Decimal("0.5"), 1, None, "")
        assert kind.label == "D, secure cloud"


class TestCreate:
    def test_the_request_holds_all_a_machine_needs_and_no_key(self, runpod: RunPodHarness) -> None:
        machine = create(runpod, gpu_count=2, max_seconds=1234)
        (call,) = runpod.fake.calls("create")
        assert call.body == {
            "name": machine.name,
            "image": IMAGE,
            "cloud": "SECURE",
            "gpu": {"id": GPU, "count": 2},
            "disk": 40,
            "env": {
                "JOB_ID": "job",
                "JOB_TOKEN": TOKEN,
                "METRICS_API_URL": "http://127.0.0.1:9/api",
                "STOKER_MAX_SECONDS": "1234",
                "STOKER_POD_API_URL": runpod.fake.url,
                "STOKER_GPU_COUNT": "2",
                "STOKER_INSTALLATION": runpod.settings.STOKER_INSTALLATION,
                "STOKER_ATTEMPT": machine.name,
            },
        }
        assert KEY not in json.dumps(call.body)
        assert (machine.gpu_type, machine.cloud, machine.price_per_hour) == (GPU, "SECURE", Decimal("0.5"))

    def test_only_hosts_with_new_drivers_are_asked_for_where_an_operator_says_so(
        self, runpod: RunPodHarness, settings: Any
    ) -> None:
        settings.RUNPOD_MIN_CUDA_VERSION = "12.8"
        create(runpod)
        assert runpod.fake.calls("create")[0].body["gpu"] == {"id": GPU, "count": 1, "minCudaVersion": "12.8"}

    @pytest.mark.parametrize(
        ("fault", "kind", "status"),
        [
            ({"kind": "no_capacity"}, NoCapacity, 400),
            ({"kind": "no_capacity", "detail": "This machine does not have the resources to deploy your pod. Please try"
              " a different machine"}, NoCapacity, 400),
            ({"kind": "no_capacity", "detail": "There are no instances currently available"}, NoCapacity, 400),
            ({"kind": "no_capacity", "detail": "SUPPLY_CONSTRAINT"}, NoCapacity, 400),
            ({"kind": "no_funds"}, NoFunds, 402),
            ({"kind": "error", "status": 400, "detail": "INSUFFICIENT_BALANCE"}, NoFunds, 400),
            ({"kind": "error", "status": 400, "detail": "disk must be at least 1"}, Refused, 400),
            ({"kind": "error", "status": 404, "detail": "template not found"}, Refused, 404),
            ({"kind": "error", "status": 413, "detail": "too large"}, Refused, 413),
            ({"kind": "error", "status": 422, "detail": "unknown field"}, Refused, 422),
            ({"kind": "not_allowed"}, Refused, 403),
            ({"kind": "revoked"}, AuthError, 401),
            ({"kind": "blocked"}, NotSent, 403),
            ({"kind": "rate_limit", "retry_after": 30}, NotSent, 429),
            ({"kind": "rate_limit", "retry_after": None}, NotSent, 429),
        ],
        ids=lambda value: value.get("detail", value["kind"])[:20] if isinstance(value, dict) else "",
    )  # fmt: skip
    def test_a_sure_no_has_its_own_reason(
        self, runpod: RunPodHarness, fault: dict[str, Any], kind: type[ProviderError], status: int
    ) -> None:
        runpod.fake.fault(fault.pop("kind"), operation="create", **fault)
        error, _ = fails_to_create(runpod)
        assert type(error) is kind or isinstance(error, kind)
        assert isinstance(error, Unavailable) is (kind is NotSent)
        assert (error.status, bool(error.request_id)) == (status, True)
        assert len(runpod.fake.calls("create")) == 1
        assert runpod.fake.pods() == []

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "lost"},
            {"kind": "garbled"},
            {"kind": "short"},
            {"kind": "no_id"},
            {"kind": "error", "status": 500, "effect": True},
            {"kind": "error", "status": 502, "effect": True, "html": True},
            {"kind": "error", "status": 503},
            {"kind": "error", "status": 504, "html": True},
            {"kind": "error", "status": 418},
            {"kind": "error", "status": 302},
            {"kind": "error", "status": 409},
            {"kind": "cut"},
            {"kind": "html"},
            {"kind": "delay", "seconds": 5},
        ],
        ids=lambda fault: "-".join(str(value) for value in fault.values()),
    )
    def test_an_unclear_answer_is_never_followed_by_another_request(
        self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(client, "CREATE_SECONDS", 0.3)
        runpod.fake.fault(fault.pop("kind"), operation="create", **fault)
        error, name = fails_to_create(runpod, fallbacks=[(OTHER_GPU, "SECURE")])
        assert isinstance(error, Unavailable)
        assert not isinstance(error, NotSent)
        assert len(runpod.fake.calls("create")) == 1
        # What was made all the same is found by its name, and adopted by the next call.
        made = runpod.fake.pods(name)
        runpod.fake.clear()
        assert {machine.external_id for machine in look(runpod, MachineRef(name)).values()} == {pod.id for pod in made}
        assert runpod.provider().create(runpod.request(name)).external_id == pod_of(runpod.fake, name).id

    def test_where_nothing_listens_nothing_was_asked_for(self, runpod: RunPodHarness) -> None:
        runpod.cut_off()
        error, _ = fails_to_create(runpod)
        assert isinstance(error, NotSent)

    def test_a_look_that_fails_before_the_request_asked_for_nothing(self, runpod: RunPodHarness) -> None:
        for operation in ("list", "gpus"):
            fault = runpod.fake.fault("down", operation=operation)
            assert isinstance(fails_to_create(runpod)[0], NotSent)
            runpod.fake.clear(fault.id)
        assert runpod.fake.calls("create") == []

    def test_a_short_wait_is_waited_for_on_the_spot(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("rate_limit", operation="create", retry_after=0.05, times=1)
        assert create(runpod).external_id
        assert [call.status for call in runpod.fake.calls("create")] == [429, 201]

    def test_a_long_wait_is_handed_on(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("rate_limit", operation="create", retry_after=40)
        assert fails_to_create(runpod)[0].retry_after == 40

    def test_the_next_kind_is_tried_only_after_a_sure_no(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("no_capacity", gpu=GPU, cloud="SECURE")
        runpod.fake.fault("not_allowed", gpu=GPU, cloud="COMMUNITY")
        machine = create(runpod, fallbacks=[(GPU, "COMMUNITY"), (OTHER_GPU, "SECURE"), ("NVIDIA A40", "SECURE")])
        assert (machine.gpu_type, machine.cloud) == (OTHER_GPU, "SECURE")
        assert [(call.gpu, call.cloud) for call in runpod.fake.calls("create")] == [
            (GPU, "SECURE"), (GPU, "COMMUNITY"), (OTHER_GPU, "SECURE"),
        ]  # fmt: skip
        assert len(runpod.fake.pods()) == 1

    def test_no_capacity_anywhere_outweighs_what_is_not_allowed(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("not_allowed", gpu=GPU)
        runpod.fake.fault("no_capacity", gpu=OTHER_GPU)
        assert isinstance(fails_to_create(runpod, fallbacks=[(OTHER_GPU, "SECURE")])[0], NoCapacity)

    def test_too_little_money_is_not_followed_by_cheaper_tries(self, runpod: RunPodHarness) -> None:
        runpod.fake.fault("no_funds")
        assert isinstance(fails_to_create(runpod, fallbacks=[(OTHER_GPU, "SECURE")])[0], NoFunds)
        assert len(runpod.fake.calls("create")) == 1

    def test_what_costs_too_much_is_passed_over_unasked(self, runpod: RunPodHarness) -> None:
        fallbacks = [("NVIDIA RTX A5000", "SECURE"), (GPU, "COMMUNITY")]
        machine = create(runpod, gpu_count=2, fallbacks=fallbacks, max_price_per_hour=Decimal("0.40"))
        assert (machine.gpu_type, machine.cloud) == (GPU, "COMMUNITY")
        assert len(runpod.fake.calls("create")) == 1
        error, _ = fails_to_create(runpod, max_price_per_hour=Decimal("0.10"))
        assert "more than the $0.1" in str(error)

    def test_a_cloud_is_always_named(self, runpod: RunPodHarness) -> None:
        assert create(runpod, cloud="").cloud == "SECURE"
        assert runpod.fake.calls("create")[0].body["cloud"] == "SECURE"

    def test_the_walk_ends_in_time(self, runpod: RunPodHarness, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(provider, "WALK_SECONDS", -1)
        runpod.fake.fault("no_capacity")
        assert isinstance(fails_to_create(runpod, fallbacks=[(OTHER_GPU, "SECURE")])[0], NoCapacity)
        assert len(runpod.fake.calls("create")) == 1
