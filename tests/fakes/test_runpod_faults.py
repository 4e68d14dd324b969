"""Every fault that the imitated RunPod can be told to have does what its name says, and no more."""

from __future__ import annotations

from decimal import Decimal

import pytest
import requests

from tests.fakes.runpod import Boot, FakeRunPod
from tests.fakes.runpod.client import A5000, Client
from tests.fakes.runpod.faults import KINDS, NO_CAPACITY, NO_RESOURCES, Nonsense

KEY = "rpa_KEY"
LOST = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
L4 = "NVIDIA L4"


@pytest.fixture
def fake():
    with FakeRunPod({KEY: 50}, boot=Boot(0, 0, 0)) as running:
        yield running


@pytest.fixture
def client(fake):
    with Client(fake.url, KEY) as session:
        yield session


def runtime(client, id_):
    return client.pod(id_).json()["runtime"]


# Answers


@pytest.mark.parametrize("kind", ["lost", "short"])
def test_a_lost_answer_leaves_a_pod(fake, client, kind):
    fake.fault(kind, times=1)
    with pytest.raises(LOST):
        client.create("mine")
    assert client.names() == ["mine"]


def test_a_cut_call_does_nothing(fake, client):
    fake.fault("cut", times=1)
    with pytest.raises(LOST):
        client.create()
    assert client.names() == []
    assert fake.calls("create")[0].status is None


def test_an_answer_may_come_after_the_clients_patience(fake, client):
    fake.fault("delay", operation="create", seconds=30, times=1)
    with pytest.raises(requests.ReadTimeout):
        client.request("POST", f"{fake.url}/pods", json={"name": "n", "image": "i", "gpu": {"id": L4}}, timeout=0.05)
    assert client.names() == ["n"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("effect", [False, True])
def test_an_error_comes_with_and_without_effect(fake, client, status, effect):
    fake.fault("error", operation="create", status=status, effect=effect, html=status == 502, times=1)
    answer = client.create("mine")
    assert answer.status_code == status
    assert ("html" in answer.headers["Content-Type"]) is (status == 502)
    assert client.names() == (["mine"] if effect else [])


def test_a_delete_may_be_done_although_it_failed(fake, client):
    id_ = client.made()
    fake.fault("error", operation="delete", effect=True)
    assert client.delete_pod(id_) == 500
    assert client.names() == []


def test_a_201_may_be_garbled_or_without_an_id(fake, client):
    fake.fault("garbled", times=1)
    with pytest.raises(requests.JSONDecodeError):
        client.create("a").json()
    fake.fault("no_id", times=1)
    assert "id" not in client.create("b").json()
    assert client.names() == ["b", "a"]


def test_a_proxys_page_may_come_with_200(fake, client):
    fake.fault("html", times=1)
    answer = client.call("GET", "/pods")
    assert (answer.status_code, answer.text[:9]) == (200, "<!doctype")


def test_down_is_for_everything_and_for_a_while(fake, client):
    fake.fault("down", for_seconds=60)
    assert client.create().status_code == 503
    assert client.call("GET", "/pods").status_code == 503
    fake.clock.advance(61)
    assert client.names() == []


def test_429_with_and_without_retry_after(fake, client):
    fake.fault("rate_limit", times=1)
    first = client.create()
    fake.fault("rate_limit", retry_after=None, times=1)
    second = client.create()
    assert (first.status_code, first.headers["Retry-After"]) == (429, "12")
    assert second.status_code == 429
    assert "Retry-After" not in second.headers
    assert not fake.pods()


def test_no_capacity_is_for_one_gpu_cloud_or_place_and_the_first_tries(fake, client):
    fake.fault("no_capacity", gpu=A5000, cloud="SECURE", times=2)
    fake.fault("no_capacity", place="US-TX-3", detail=NO_RESOURCES)
    details = [client.create().json().get("detail") for _ in range(3)]
    assert details == [NO_CAPACITY, NO_CAPACITY, None]
    assert client.create(gpu=L4, dataCenterIds=["US-TX-3"]).json()["detail"] == NO_RESOURCES
    assert client.create(gpu=L4, dataCenterIds=["EU-RO-1"]).status_code == 201


@pytest.mark.parametrize(
    ("kind", "status", "is_json"),
    [("no_funds", 402, True), ("not_allowed", 403, True), ("blocked", 403, False), ("revoked", 401, True)],
)
def test_refusals(fake, client, kind, status, is_json):
    fake.fault(kind)
    answer = client.create()
    assert answer.status_code == status
    assert ("json" in answer.headers["Content-Type"]) is is_json
    assert not fake.pods()


def test_a_list_may_be_empty_or_lack_its_pages(fake, client):
    client.made()
    fake.fault("empty_list", times=1)
    assert client.call("GET", "/pods").json()["pods"] == []
    fake.fault("no_pagination", times=1)
    assert client.call("GET", "/pods").json().keys() == {"pods"}
    assert client.names() == ["ft-1-a0"]


def test_204_may_be_a_lie(fake, client):
    id_ = client.made()
    fake.fault("pretend", times=1)
    assert client.delete_pod(id_) == 204
    assert client.pod(id_).json()["status"] == "RUNNING"
    assert client.delete_pod(id_) == 204
    assert client.pod(id_).status_code == 404


def test_a_pod_may_appear_between_two_pages(fake, client):
    client.made("a")
    client.made("b")
    fake.fault("plant", pod="between", after=1)
    first = client.call("GET", "/pods?limit=1").json()
    second = client.call("GET", "/pods", params={"cursor": first["pagination"]["nextCursor"]}).json()
    assert [pod["name"] for pod in first["pods"] + second["pods"]] == ["b", "a"]
    assert client.names() == ["between", "b", "a"]


# How pods are shown


def test_list_and_get_may_disagree(fake, client):
    id_ = client.made("a")
    client.made("b")
    fake.fault("hide", name="a", times=1)
    assert client.names() == ["b"]
    assert client.names() == ["b", "a"]
    fake.fault("hide", name="a", operation="get")
    assert client.pod(id_).status_code == 404
    assert client.names() == ["b", "a"]


def test_a_new_pod_may_be_invisible_for_a_while_and_even_to_delete(fake, client):
    fake.fault("late", seconds=90)
    id_ = client.made()
    assert client.names() == []
    assert client.pod(id_).status_code == 404
    assert client.delete_pod(id_) == 404
    fake.clock.advance(91)
    assert client.names() == ["ft-1-a0"]
    assert client.delete_pod(id_) == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "HIBERNATING"},
        {"cost": "0.27"},
        {"cost": 0},
        {"gpu": {"id": L4, "count": 0, "vcpuCount": 2, "memory": 5}},
        {"createdAt": "2031-01-01T00:00:00Z", "dataCenterId": "XX", "cudaVersion": "11.0"},
        {"invented": {"new": True}},
    ],
)
def test_any_field_may_be_odd(fake, client, fields):
    id_ = client.made()
    fake.fault("change", fields=fields)
    for shown in (client.pod(id_).json(), client.call("GET", "/pods").json()["pods"][0]):
        assert fields.items() <= shown.items()


def test_fields_may_be_missing(fake, client):
    fake.fault("drop", fields=["runtime", "cost", "env"])
    assert not {"runtime", "cost", "env"} & client.create().json().keys()


# What becomes of pods


@pytest.mark.parametrize(("at", "empty"), [("PROVISIONING", {}), ("STARTING", None), ("RUNNING", {})])
def test_a_start_may_be_stuck_for_ever(fake, client, at, empty):
    fake.fault("stuck", at=at)
    id_ = client.made()
    fake.clock.advance(86_400)
    pod = client.pod(id_).json()
    assert (pod["status"], pod["runtime"]) == (at, empty)
    assert fake.bill() > 6


def test_a_start_may_end_in_an_error_or_take_long(fake, client):
    fake.fault("start_error", times=1)
    assert client.pod(client.made("broken")).json()["status"] == "ERROR"
    fake.fault("slow_boot", seconds=1800, times=1)
    slow = client.made("slow")
    fake.clock.advance(1799)
    assert not runtime(client, slow)
    fake.clock.advance(1)
    assert runtime(client, slow)["uptime"] == 0


def test_a_container_may_restart_for_ever_or_once(fake, client):
    fake.fault("restart_loop", name="loop", seconds=10)
    fake.fault("restart_loop", name="once", seconds=10, loops=1)
    loop, once = client.made("loop"), client.made("once")
    fake.clock.advance(25)
    assert [runtime(client, id_)["uptime"] for id_ in (loop, once)] == [5, 15]
    assert client.pod(loop).json()["cost"] == 0.27


def test_preemption_is_an_exit_without_a_reason_and_hits_once(fake, client):
    first = client.made("a")
    fake.fault("preempt", stale_polls=1)
    stopped = client.pod(first).json()
    assert (stopped["status"], stopped["cost"]) == ("EXITED", 0.0)
    assert stopped["runtime"]
    assert client.pod(first).json()["runtime"] is None
    assert client.pod(client.made("b")).json()["status"] == "RUNNING"


def test_a_pod_to_come_may_be_preempted_after_its_start(fake, client):
    fake.fault("preempt", seconds=30)
    id_ = client.made()
    fake.clock.advance(29)
    assert client.pod(id_).json()["status"] == "RUNNING"
    fake.clock.advance(2)
    assert client.pod(id_).json()["status"] == "EXITED"


def test_a_pod_may_vanish_and_is_billed_no_more(fake, client):
    id_ = client.made()
    fake.clock.advance(3600)
    fake.fault("vanish", name="ft-*")
    assert client.pod(id_).status_code == 404
    fake.clock.advance(3600)
    assert fake.bill() == Decimal("0.27")


def test_the_price_may_change(fake, client):
    id_ = client.made()
    fake.clock.advance(3600)
    fake.fault("price", price="1.27")
    assert client.pod(id_).json()["cost"] == 1.27
    fake.clock.advance(3600)
    assert fake.bill() == Decimal("1.54")


def test_a_deleted_pod_may_linger_and_be_billed_meanwhile(fake, client):
    fake.fault("linger", polls=2)
    id_ = client.made()
    assert client.delete_pod(id_) == 204
    fake.clock.advance(3600)
    assert client.names() == ["ft-1-a0"]
    assert client.pod(id_).json()["status"] == "RUNNING"
    assert client.names() == []
    assert fake.bill() == Decimal("0.27")


def test_a_locked_pod_cannot_be_ended(fake, client):
    id_ = client.made()
    fake.fault("locked")
    assert client.delete_pod(id_) == 409
    assert client.call("POST", f"/pods/{id_}/action", json={"action": "stop"}).status_code == 409


def test_the_key_of_a_pod_may_be_worth_nothing(fake, client):
    fake.fault("no_own_key")
    id_ = client.made()
    with Client(fake.url, fake.pods()[0].key) as inside:
        assert inside.delete_pod(id_) == 403


def test_one_request_may_make_two_pods(fake, client):
    fake.fault("duplicate")
    client.made("twice")
    client.made("once")
    assert client.names() == ["once", "twice", "twice"]


# The script


def test_faults_wait_end_and_are_taken_back(fake, client):
    fault = fake.fault("error", operation="list", after=1, times=1)
    other = fake.fault("no_funds")
    assert [client.call("GET", "/pods").status_code for _ in range(3)] == [200, 500, 200]
    assert (fault.seen, fault.hits) == (3, 1)
    assert fake.clear(other.id) == 1
    assert client.create().status_code == 201
    assert fake.clear() == 1


def test_nonsense_is_refused_with_what_there_is(fake):
    with pytest.raises(Nonsense, match=r"takes no .secnds.\. It takes: operation, name"):
        fake.fault("late", secnds=3)
    assert all(kind.what.endswith(".") for kind in KINDS.values())


def test_faults_are_scripted_over_http_too(fake, client):
    made = client.control("POST", "fault", {"kind": "no_capacity", "times": 1}).json()
    assert client.create().status_code == 400
    assert client.control("GET", "state").json()["faults"][0]["hits"] == 1
    assert client.control("DELETE", f"fault/{made['id']}").json() == {"removed": 1}
    assert client.control("GET", "kinds").json().keys() == KINDS.keys()
