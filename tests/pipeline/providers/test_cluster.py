"""The `cluster` provider beyond the suite: what it sends, and what it makes of every fault."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline.providers import base
from pipeline.providers.base import Account, MachineRef, MachineState, ProviderError
from pipeline.providers.cluster import ClusterProvider
from pipeline.providers.cluster import provider as cluster_provider
from pipeline.providers.cluster.gpus import gpus_of
from tests.fakes.cluster import KEY, FakeCluster
from tests.pipeline.providers.cluster_harness import ClusterHarness
from tests.pipeline.providers.harness import is_sentence
from tests.waiting import until


@pytest.fixture
def cluster(settings: Any, tmp_path: Path) -> Iterator[ClusterHarness]:
    harness = ClusterHarness(settings, tmp_path)
    yield harness
    harness.fake.close()


class TestWhatIsSent:
    def test_a_submission_is_what_the_contract_says(self, cluster: ClusterHarness) -> None:
        name = cluster.create()
        sent = cluster.fake.requests[0]
        assert sent["path"] == "/training/submit"
        assert sent["headers"]["Idempotency-Key"] == name
        assert sent["body"] == {
            "job_id": name,
            "dataset_url": "https://example.org/data.jsonl?signature=abc",
            "hyperparameters": {
                "max_steps": 100_000,
                "learning_rate": 0.0002,
                "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            },
            "gpu_config": {"type": "A100", "count": 1},
            "callback_url": "https://example.org/callback",
        }

    def test_no_token_of_ours_is_sent_along(self, cluster: ClusterHarness) -> None:
        cluster.create()
        assert "JOB_TOKEN" not in json.dumps(cluster.fake.requests)

    def test_one_connection_serves_a_whole_look(self, cluster: ClusterHarness) -> None:
        names = [cluster.create() for _ in range(5)]
        before = cluster.fake.connections
        seen = cluster.provider().observe([cluster.ref(name) for name in names])
        assert seen.keys() == set(names)
        assert cluster.fake.connections == before + 1

    def test_the_operators_own_address_may_be_inside_and_others_may_not(
        self, cluster: ClusterHarness, settings: Any
    ) -> None:
        settings.STOKER_PRIVATE_URLS = []
        with pytest.raises(base.AuthError, match="STOKER_PRIVATE_URLS") as caught:
            cluster.create()
        assert is_sentence(str(caught.value))
        settings.GPU_CLUSTER_API_URL = cluster.fake.url
        assert ClusterProvider(Account("1", KEY)).check_account() == "127.0.0.1"
        assert cluster.fake.count("submit") == 0

    def test_without_any_address_or_key_nothing_is_called(self, cluster: ClusterHarness) -> None:
        for account in (None, Account("1", KEY), Account("1", "two words", cluster.fake.url)):
            with pytest.raises(base.AuthError) as caught:
                ClusterProvider(account).check_account()
            assert is_sentence(str(caught.value))
        assert cluster.fake.requests == []


# fault, its values, the error of a submission, whether a job exists afterwards
SUBMISSIONS: list[tuple[str, dict[str, Any], type[ProviderError], bool]] = [
    ("cut", {}, base.Unavailable, False),
    ("lost", {}, base.Unavailable, True),
    ("truncated", {}, base.Unavailable, True),
    ("html", {}, base.Unavailable, True),
    ("list", {}, base.Unavailable, True),
    ("huge", {}, base.Unavailable, True),
    ("no_id", {}, base.Unavailable, True),
    ("error", {"code": 500, "made": True}, base.Unavailable, True),
    ("error", {"code": 503}, base.Unavailable, False),
    ("error", {"code": 409}, base.Unavailable, False),
    ("error", {"code": 408}, base.Unavailable, False),
    ("error", {"code": 400}, base.Refused, False),
    ("error", {"code": 422, "detail": "learning_rate is too high"}, base.Refused, False),
    ("error", {"code": 404}, base.Refused, False),
    ("error", {"code": 401}, base.AuthError, False),
    ("error", {"code": 403, "detail": "No GPUs for you"}, base.AuthError, False),
    ("error", {"code": 402}, base.NoFunds, False),
    ("error", {"code": 429, "retry_after": 120}, base.NoCapacity, False),
]


@pytest.mark.parametrize(("what", "values", "error", "made"), SUBMISSIONS, ids=lambda value: str(value)[:40])
def test_each_fault_of_a_submission_has_its_error_and_sentence(
    cluster: ClusterHarness, what: str, values: dict[str, Any], error: type[ProviderError], made: bool
) -> None:
    cluster.fake.fault("submit", what, **values)
    with pytest.raises(error) as caught:
        cluster.create()
    assert type(caught.value) is error
    assert is_sentence(str(caught.value))
    assert values.get("detail", "") in str(caught.value)
    assert KEY not in str(caught.value)
    assert bool(cluster.fake.jobs) is made
    assert cluster.fake.count("submit") == 1, "nothing is tried twice"


def test_a_redirect_is_not_followed(cluster: ClusterHarness) -> None:
    cluster.fake.fault("*", "redirect", times=None)
    with pytest.raises(base.Refused, match="307"):
        cluster.create()
    assert [request["path"] for request in cluster.fake.requests] == ["/training/submit"]


def test_what_was_never_sent_is_told_from_what_nobody_knows(cluster: ClusterHarness) -> None:
    cluster.cut_off()
    with pytest.raises(base.NotSent):
        cluster.create()


@pytest.mark.parametrize(
    ("header", "seconds"), [(7, 7), ("0", 1), (10**9, 3600), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 1)]
)
def test_retry_after_is_understood_in_both_its_forms(
    cluster: ClusterHarness, header: Any, seconds: float | None
) -> None:
    cluster.fake.fault("submit", "error", code=429, retry_after=header)
    with pytest.raises(base.NoCapacity) as caught:
        cluster.create()
    assert caught.value.retry_after == seconds


def test_a_conflict_that_names_the_job_is_an_answer(cluster: ClusterHarness) -> None:
    name = cluster.new_name()
    first = cluster.provider().create(cluster.lasting(name))
    cluster.fake.fault("submit", "conflict")
    assert cluster.provider().create(cluster.lasting(name)).external_id == first.external_id


class TestLooks:
    @pytest.mark.parametrize("what", ["cut", "truncated", "html", "list", "huge"])
    def test_a_look_without_a_usable_answer_says_nothing(self, cluster: ClusterHarness, what: str) -> None:
        name = cluster.create()
        cluster.fake.fault("status", what)
        with pytest.raises(base.Unavailable):
            cluster.provider().observe([cluster.ref(name)])

    @pytest.mark.parametrize(
        ("code", "error"), [(500, base.Unavailable), (429, base.Unavailable), (401, base.AuthError)]
    )
    def test_an_error_is_no_absence(self, cluster: ClusterHarness, code: int, error: type[ProviderError]) -> None:
        name = cluster.create()
        cluster.fake.fault("status", "error", code=code)
        with pytest.raises(error):
            cluster.provider().observe([cluster.ref(name)])

    def test_a_404_counts_only_from_a_cluster(self, cluster: ClusterHarness) -> None:
        name = cluster.create()
        ref = cluster.ref(name)
        cluster.fake.vanish(name)
        assert cluster.provider().observe([ref]) == {}
        cluster.fake.fault("status", "html", code=404)
        with pytest.raises(base.Unavailable, match="not the cluster's address"):
            cluster.provider().observe([ref])

    def test_after_an_accepted_stop_absence_is_the_end(self, cluster: ClusterHarness) -> None:
        name = cluster.create()
        ref = MachineRef(name, cluster.ref(name).external_id, end_expected=True)
        cluster.fake.vanish(name)
        seen = cluster.provider().observe([ref])[name]
        assert seen.state is MachineState.GONE
        assert "no longer knows" in seen.detail

    def test_one_job_that_cannot_be_read_does_not_hide_the_others(self, cluster: ClusterHarness) -> None:
        names = [cluster.create() for _ in range(3)]
        cluster.fake.fault("status", "html")
        seen = cluster.provider().observe([cluster.ref(name) for name in names])
        states = sorted(machine.state is MachineState.UNKNOWN for machine in seen.values())
        assert states == [False, False, True]

    def test_a_look_ends_in_time_and_says_of_whom_it_does_not_know(
        self, cluster: ClusterHarness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [cluster.create() for _ in range(3)]
        monkeypatch.setattr(cluster_provider, "LOOK_SECONDS", 0.3)
        cluster.fake.fault("status", "slow", seconds=0.4)
        seen = cluster.provider().observe([cluster.ref(name) for name in names])
        assert seen.keys() == set(names)
        unknown = [machine for machine in seen.values() if machine.state is MachineState.UNKNOWN]
        assert len(unknown) == 2
        assert cluster.fake.count("status") == 1

    def test_a_stop_that_is_refused_is_told(self, cluster: ClusterHarness) -> None:
        name = cluster.create()
        cluster.fake.fault("cancel", "error", code=409, detail="It cannot be cancelled while it saves")
        with pytest.raises(base.Unavailable, match="while it saves"):
            cluster.provider().stop(cluster.ref(name))

    def test_what_has_no_id_cannot_be_stopped_and_says_so(self, cluster: ClusterHarness) -> None:
        with pytest.raises(base.Unavailable, match="cannot be cancelled yet"):
            cluster.provider().stop(MachineRef("stoker-1"))

    @pytest.mark.parametrize("external_id", ["../submit", "..", "a b", "x" * 201, "a\nb", "é", "{}"])
    def test_an_odd_id_reaches_no_other_address(self, cluster: ClusterHarness, external_id: str) -> None:
        with pytest.raises(base.Unavailable):
            cluster.provider().observe([MachineRef("stoker-1", external_id)])
        assert all(request["path"].startswith("/training/status/") for request in cluster.fake.requests)
        assert all(".." not in request["path"].replace("..%2F", "") for request in cluster.fake.requests)


def test_nan_survives_the_wire(cluster: ClusterHarness) -> None:
    name = cluster.create()
    cluster.fake.change(name, status="running", current_step=5, metrics={"loss": math.nan, "grad_norm": "Infinity"})
    report = cluster.provider().observe([cluster.ref(name)])[name].report
    assert report is not None
    assert math.isnan(report.points[0]["loss"])
    assert report.points[0]["grad_norm"] == "Infinity"


class TestOptions:
    def test_types_prices_and_memory_are_read(self) -> None:
        found = [(gpu.type, gpu.price_per_hour, gpu.memory_gb) for gpu in gpus_of("A100:2.50, H100 SXM : 4.00 : 80,T4")]
        assert found == [
            ("A100", Decimal("2.50"), None), ("H100 SXM", Decimal("4.00"), 80.0), ("T4", Decimal(0), None)
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "text", ["A100:cheap", "A100:-1", "A100:NaN", "A100:1:2:3", ":2", "A100:1,A100:2", "<b>:1"]
    )
    def test_what_cannot_be_read_is_refused_with_an_example(self, text: str, cluster: ClusterHarness) -> None:
        account = Account("1", KEY, cluster.fake.url, {"gpu_types": text})
        with pytest.raises(base.Refused, match=r"A100:2\.50") as caught:
            ClusterProvider(account).check_account()
        assert is_sentence(str(caught.value))

    def test_without_types_there_is_one_without_a_price(self) -> None:
        [offer] = ClusterProvider(Account("1", KEY)).offers()
        assert (offer.type, offer.price_per_hour) == ("gpu", 0)
        assert "tells no price" in offer.note

    def test_idempotent_is_said_not_assumed(self) -> None:
        assert ClusterProvider(Account("1", KEY, "", {"idempotent": True})).create_is_idempotent
        for options in ({"idempotent": False}, {}):
            assert not ClusterProvider(Account("1", KEY, "", options)).create_is_idempotent

    def test_a_key_is_checked_before_anything_is_asked_for(self, cluster: ClusterHarness) -> None:
        assert cluster.provider().check_account() == "127.0.0.1"
        with pytest.raises(base.AuthError, match="refused the key"):
            ClusterProvider(Account("1", "another-key", cluster.fake.url)).check_account()
        cluster.fake.fault("status", "html", code=404)
        with pytest.raises(base.Unavailable):
            cluster.provider().check_account()


def test_the_imitated_cluster_runs_by_itself_and_keeps_its_jobs(settings: Any, tmp_path: Path) -> None:
    state = tmp_path / "cluster.json"
    command = [sys.executable, "-m", "tests.fakes.cluster", "--state", str(state), "--queue-seconds", "0"]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().split()[3]
        settings.STOKER_PRIVATE_URLS, settings.GPU_CLUSTER_API_URL = [url], ""
        provider = ClusterProvider(Account("1", KEY, url))
        request = base.CreateRequest(
            "stoker-c0ffee00-1-a1", "gpu", 1, "", {}, 60, hyperparameters={"max_steps": 10_000}
        )
        made = provider.create(request)
        body = json.dumps({"status": "failed", "error": "As ordered"}).encode()
        with urllib.request.urlopen(f"{url}/_control/jobs/{request.name}", body, timeout=5):
            seen = provider.observe([MachineRef(request.name, made.external_id)])[request.name]
        process.terminate()
        assert process.wait(10) == 0
    assert seen.state is MachineState.GONE
    assert "As ordered." in seen.detail
    with FakeCluster(state=state) as again:
        assert [job["id"] for job in again.named(request.name)] == [made.external_id]


def test_a_finished_job_is_seen_to_the_last_step(cluster: ClusterHarness) -> None:
    cluster.fake.history = True
    name = cluster.create(ends=True)
    until(lambda: cluster.state(name) is MachineState.GONE, 20, "the job to finish")
    report = cluster.provider().observe([cluster.ref(name)])[name].report
    assert report is not None
    assert [point["step"] for point in report.points] == list(range(1, 21))
