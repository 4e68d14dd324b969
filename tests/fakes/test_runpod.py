"""The imitated RunPod does what it says: each call, the bill, the clock, and what is kept over its own death."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from decimal import Decimal

import pytest
import requests

from pipeline.config.supervisor import ROOT
from tests.fakes.runpod import Boot, FakeRunPod
from tests.fakes.runpod.client import A5000, Client
from tests.fakes.runpod.faults import NO_CAPACITY
from tests.waiting import until

KEY, OTHER = "rpa_KEY", "rpa_OTHER"


@pytest.fixture
def fake():
    with FakeRunPod({KEY: 50, OTHER: 50}) as running:
        yield running


@pytest.fixture
def client(fake):
    with Client(fake.url, KEY) as session:
        yield session


# Pods


def test_a_created_pod_is_answered_in_full(client):
    answer = client.create(disk=40, env={"JOB": "1"}, args="run")
    pod = answer.json()
    assert answer.status_code == 201
    assert pod["name"] == "ft-1-a0"
    assert 10 <= len(pod["id"]) <= 14
    assert (pod["status"], pod["actions"]) == ("PROVISIONING", ["stop", "terminate"])
    assert (pod["cost"], pod["runtime"], pod["startedAt"], pod["env"]) == (0.27, {}, None, {"JOB": "1"})
    assert pod["gpu"] == {"id": A5000, "count": 1, "vcpuCount": 9, "memory": 50}
    assert answer.headers["x-request-id"]
    assert '"minute";q=' in answer.headers["RateLimit-Policy"]


def test_a_pod_boots_by_the_clock(fake, client):
    id_ = client.made()
    seen = []
    for seconds in (0, 1, 2, 1, 12):
        fake.clock.advance(seconds)
        pod = client.pod(id_).json()
        seen.append((pod["status"], bool(pod["runtime"])))
    assert seen == [
        ("PROVISIONING", False), ("STARTING", False), ("RUNNING", False), ("RUNNING", True), ("RUNNING", True),
    ]  # fmt: skip
    assert pod["runtime"]["uptime"] == 12


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"gpuTypeIds": ["x"]}, 422, "unknown field 'gpuTypeIds'"),
        ({"gpu": {"id": A5000, "cout": 1}}, 422, "unknown field 'cout'"),
        ({"env": {"A": 1}}, 422, "must be a map of strings"),
        ({"cloud": "ALL"}, 422, "must be one of SECURE, COMMUNITY"),
        ({"gpu": {"id": "NVIDIA GTX 1"}}, 400, "unknown GPU type"),
        ({"gpu": {"id": A5000, "count": 99}}, 400, "gpu.count must be from 1 to 8"),
        ({"cpu": {"id": "cpu3c"}}, 400, "exactly one of gpu and cpu"),
        ({"templateId": "t"}, 404, "template not found"),
        ({"dataCenterIds": ["XX-1"]}, 400, NO_CAPACITY),
        ({"env": {f"V{n}": "" for n in range(51)}}, 400, "at most 50 environment variables"),
        ({"args": "x" * 102_400}, 413, "larger than 102400 bytes"),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused_and_makes_nothing(fake, client, change, status, words):
    answer = client.create(**change) if "gpu" not in change else client.call(
        "POST", "/pods", json={"name": "n", "image": "i", **change}
    )  # fmt: skip
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert words in answer.json()["detail"]
    assert not fake.pods()


def test_names_are_not_unique_and_every_create_is_billed(fake, client):
    assert client.made("same") != client.made("same")
    fake.clock.advance(3600)
    assert fake.bill("same") == Decimal("0.54")


def test_the_list_is_paged_newest_first_and_unknown_questions_are_ignored(client):
    for n in range(3):
        client.made(f"p{n}")
    first = client.call("GET", "/pods", params={"limit": 2, "name": "p0"}).json()
    assert [pod["name"] for pod in first["pods"]] == ["p2", "p1"]
    assert first["pagination"]["hasNextPage"] is True
    second = client.call("GET", "/pods", params={"cursor": first["pagination"]["nextCursor"]}).json()
    assert [pod["name"] for pod in second["pods"]] == ["p0"]
    assert second["pagination"] == {"nextCursor": None, "hasNextPage": False}


def test_more_than_a_thousand_pods_take_two_pages(fake, client):
    for n in range(1001):
        fake.plant(f"p{n}", KEY)
    page = client.call("GET", "/pods").json()
    assert len(page["pods"]) == 1000
    assert client.names(cursor=page["pagination"]["nextCursor"]) == ["p0"]


def test_stop_costs_nothing_more_and_is_refused_twice(fake, client):
    id_ = client.made()
    fake.clock.advance(10)
    stopped = client.call("POST", f"/pods/{id_}/action", json={"action": "stop"}).json()
    assert (stopped["status"], stopped["cost"]) == ("EXITED", 0.0)
    bill = fake.bill()
    fake.clock.advance(3600)
    assert fake.bill() == bill > 0
    assert client.call("POST", f"/pods/{id_}/action", json={"action": "stop"}).status_code == 409
    assert client.call("POST", f"/pods/{id_}/action", json={"action": "explode"}).status_code == 422
    assert client.call("POST", f"/pods/{id_}/action", json={"action": "start"}).json()["status"] == "PROVISIONING"


@pytest.mark.parametrize("way", ["DELETE", "terminate"])
def test_an_ended_pod_is_gone_from_everywhere_but_the_bill(fake, client, way):
    id_ = client.made()
    fake.clock.advance(1800)
    if way == "DELETE":
        assert client.delete_pod(id_) == 204
    else:
        assert client.call("POST", f"/pods/{id_}/action", json={"action": "terminate"}).status_code == 204
    fake.clock.advance(1800)
    assert client.pod(id_).status_code == 404
    assert client.delete_pod(id_) == 404
    assert client.names() == []
    assert fake.bill(id_) == Decimal("0.135")
    row = client.call("GET", "/billing/pods", params={"podId": id_, "bucketSize": "week"}).json()["records"]
    assert sum(each["totalAmount"] for each in row) == pytest.approx(0.135)


def test_a_pod_may_be_changed_and_locked(client):
    id_ = client.made()
    assert client.call("PATCH", f"/pods/{id_}", json={"name": "other"}).json()["name"] == "other"
    assert client.call("PATCH", f"/pods/{id_}", json={"gpu": {}}).status_code == 422
    assert client.call("PATCH", f"/pods/{id_}", json={"locked": True}).json()["locked"] is True
    assert client.delete_pod(id_) == 409


def test_logs_are_a_stream_that_does_not_end_by_itself(client):
    id_ = client.made()
    with client.call("GET", f"/pods/{id_}/logs?source=system&tail=10", stream=True) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = answer.iter_lines(chunk_size=1)
        assert next(lines) == b"id: 1"
        assert json.loads(next(lines).removeprefix(b"data: "))["line"] == "create pod"


# Keys and accounts


def test_pods_of_another_key_do_not_exist(fake, client):
    id_ = client.made()
    with Client(fake.url, OTHER) as other:
        assert other.names() == []
        assert other.pod(id_).status_code == 404
        assert other.delete_pod(id_) == 404
    with Client(fake.url, "unknown") as nobody:
        assert nobody.pod(id_).status_code == 401


def test_a_key_of_a_pod_ends_its_own_pod_and_does_nothing_else(fake, client):
    mine, others = client.made("mine"), client.made("others")
    with Client(fake.url, fake.pods("mine")[0].key) as inside:
        assert inside.call("GET", "/pods").status_code == 403
        assert inside.pod(mine).status_code == 403
        assert inside.delete_pod(others) == 403
        assert inside.call("POST", f"/pods/{mine}/action", json={"action": "stop"}).status_code == 403
        assert inside.delete_pod(mine) == 204
        assert inside.delete_pod(mine) == 401  # the key went with the pod
    assert client.names() == ["others"]


def test_any_key_may_open_an_account_but_a_pods_own_opens_only_its_pod():
    with FakeRunPod({}, any_key=True) as fake, Client(fake.url, KEY) as client:
        id_ = client.made()
        with Client(fake.url, fake.pods()[0].key) as inside, Client(fake.url, "wrong-key") as wrong:
            assert wrong.call("GET", "/pods").status_code == 401
            assert inside.call("GET", "/pods").status_code == 403
            assert inside.delete_pod(id_) == 204
            assert inside.call("GET", "/pods").status_code == 401


def test_a_key_can_be_revoked_and_accepted_again(fake, client):
    id_ = client.made()
    fake.account(KEY, revoked=True)
    assert client.pod(id_).status_code == 401
    fake.account(KEY, revoked=False)
    assert client.pod(id_).status_code == 200


@pytest.mark.parametrize("agent", ["", "Python-urllib/3.11"])
def test_a_robots_user_agent_is_turned_away_without_json(client, agent):
    answer = client.call("GET", "/pods", headers={"User-Agent": agent})
    assert (answer.status_code, answer.text) == (403, "error code: 1010")


def test_an_account_that_has_run_dry_is_refused_and_loses_its_pods(fake, client):
    id_ = client.made(count=8)
    fake.account(KEY, 2.17)
    assert client.create("second", gpu="NVIDIA H100 PCIe").status_code == 402
    fake.clock.advance(3700)
    assert client.pod(id_).status_code == 404
    assert fake.pods(ended=True)[0].ending == "balance"


def test_the_balance_falls_with_the_bill(fake, client):
    client.made()
    fake.clock.advance(3600)
    query = {"query": "query { myself { clientBalance currentSpendPerHr } }"}
    answer = client.post(fake.graphql_url, json=query, timeout=10).json()["data"]["myself"]
    assert (answer["clientBalance"], answer["currentSpendPerHr"]) == (49.73, 0.27)
    wrong = client.post(fake.graphql_url, json={"query": "query { gpuTypes { id } }"}, timeout=10)
    assert wrong.status_code == 200
    assert wrong.json()["errors"]


def test_a_pod_can_be_ended_by_graphql_too(fake, client):
    id_ = client.made()
    query = {"query": f'mutation {{ podTerminate(input: {{podId: "{id_}"}}) }}'}
    with Client(fake.url, fake.pods()[0].key) as inside:
        assert inside.post(fake.graphql_url, json=query, timeout=10).json() == {"data": {"podTerminate": None}}
    assert client.names() == []


def test_too_many_calls_are_refused_until_the_next_minute(fake, client):
    fake.api.limits.quota["minute"] = 2
    assert [client.call("GET", "/pods").status_code for _ in range(3)] == [200, 200, 429]
    wait = int(client.call("GET", "/pods").headers["Retry-After"])
    fake.clock.advance(wait)
    assert client.call("GET", "/pods").status_code == 200


# Catalogue, bill, things


def test_the_catalogue_has_prices_and_stock(client):
    assert client.call("GET", "/catalog/gpus", params={"include": "AVAILABILITY"}).status_code == 400
    query = {"include": "AVAILABILITY", "product": "POD", "cloud": "COMMUNITY"}
    gpus = client.call("GET", "/catalog/gpus", params=query).json()["gpus"]
    row = next(gpu for gpu in gpus if gpu["id"] == A5000)
    assert (row["name"], row["memory"], row["availability"]) == ("RTX A5000", 24, "LOW")
    assert (row["price"], row["maxCount"]) == ({"secure": 0.27, "community": 0.16}, {"secure": 8, "community": 4})
    assert all(gpu["community"] for gpu in gpus)
    assert client.call("GET", "/catalog/gpus/NVIDIA%20L4").json()["name"] == "L4"
    assert client.call("GET", "/catalog/datacenters").json()["dataCenters"]


def test_what_is_out_of_stock_cannot_be_had(fake, client):
    assert client.control("POST", "stock", {"gpu": A5000, "stock": "NONE"}).status_code == 200
    assert client.create().json()["detail"] == NO_CAPACITY
    assert client.create(gpu="NVIDIA L4").status_code == 201


def test_billing_records_come_late(fake, client):
    client.made()
    fake.api.rest.billing_lag = 3600
    fake.clock.advance(3000)
    assert client.call("GET", "/billing/pods?bucketSize=hour").json()["records"] == []
    fake.clock.advance(3600)
    rows = client.call("GET", "/billing/pods?bucketSize=hour").json()["records"]
    assert sum(row["totalAmount"] for row in rows) == pytest.approx(0.27 * 3000 / 3600)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/registries", {"name": "r", "username": "u", "password": "secret"}),
        ("/network-volumes", {"name": "v", "size": 10, "dataCenter": "EU-RO-1"}),
    ],
)
def test_registries_and_volumes_are_kept(client, path, body):
    made = client.call("POST", path, json=body)
    assert made.status_code == 201
    assert "secret" not in made.text
    assert client.call("GET", f"{path}/{made.json()['id']}").json()["name"] == body["name"]
    assert client.call("DELETE", f"{path}/{made.json()['id']}").status_code == 204
    assert client.call("GET", f"{path}/{made.json()['id']}").status_code == 404


# The record, and life after death


def test_calls_are_recorded_without_keys(fake, client):
    client.made("seen")
    client.names()
    assert [call.operation for call in fake.calls()] == ["create", "list"]
    assert fake.calls("create", "seen")[0].body["gpu"]["id"] == A5000
    assert KEY not in client.control("GET", "calls").text + client.control("GET", "state").text


def test_the_control_interface_answers_no_browser(fake, client):
    page = requests.get(f"{fake.origin}/_control/state", headers={"Origin": "https://example.org"}, timeout=10)
    assert page.status_code == 403
    wrong = client.control("POST", "fault", {"kind": "earthquake"})
    assert wrong.status_code == 422
    assert "There is no fault 'earthquake'" in wrong.json()["detail"]


@contextmanager
def process(*arguments):
    """The fake as a program of its own; yields its process and a client."""
    command = [sys.executable, "-m", "tests.fakes.runpod", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        try:
            with Client(program.stdout.readline().split()[3], "playground-key") as client:
                yield program, client
        finally:
            program.kill()


def test_pods_bill_and_faults_outlive_a_killed_server(tmp_path):
    state = tmp_path / "state.json"
    with process("--state", state, "--quick") as (program, client):
        id_ = client.made()
        client.control("POST", "fault", {"kind": "locked"})
        client.control("POST", "fault", {"kind": "down", "operation": "list"})
        client.control("POST", "clock", {"advance": 3600})
        program.kill()
    with process("--state", state, "--quick") as (program, client):
        assert client.pod(id_).json()["status"] == "RUNNING"
        assert client.call("GET", "/pods").status_code == 503
        assert client.delete_pod(id_) == 409
        assert Decimal(client.control("GET", "state").json()["pods"][0]["bill"]) >= Decimal("0.27")
        program.send_signal(signal.SIGTERM)
        assert program.wait(10) == 0
    assert "playground-key" not in state.read_text()


def test_a_clock_may_run_faster_than_ours():
    with FakeRunPod({KEY: 50}, speed=1000, boot=Boot(0, 0, 0)) as fake, Client(fake.url, KEY) as client:
        id_ = client.made()
        until(lambda: client.pod(id_).json()["runtime"]["uptime"] >= 60)
