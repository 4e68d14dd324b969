"""Pods of the imitated RunPod that really run a program: started, started again, stopped and ended as a host does."""

from __future__ import annotations

import json
import sys
import textwrap

import psutil
import pytest

from tests.fakes.runpod import Boot, FakeRunPod, Host
from tests.fakes.runpod.client import Client
from tests.fakes.test_runpod import process
from tests.waiting import until

KEY = "rpa_KEY"
# Writes what it sees, starts a child in a session of its own, and notes a SIGTERM without obeying it.
PROGRAM = textwrap.dedent("""
    import json, os, signal, subprocess, sys, time
    if os.environ.get("ENDS"):
        sys.exit(3)
    signal.signal(signal.SIGTERM, lambda *_: print("told to end", flush=True))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    open("seen.tmp", "w").write(json.dumps({"environment": dict(os.environ), "ids": [os.getpid(), child.pid]}))
    os.rename("seen.tmp", "seen.json")
    print("running", flush=True)
    while True:
        time.sleep(600)
""")
COMMAND = [sys.executable, "-I", "-S", "-c", PROGRAM]


@pytest.fixture
def fake(tmp_path):
    with FakeRunPod({KEY: 50}, boot=Boot(0, 0, 0), host=Host(COMMAND, tmp_path, tmp_path / "models")) as running:
        yield running


@pytest.fixture
def client(fake):
    with Client(fake.url, KEY) as session:
        yield session


def seen(folder, id_):
    """What the program of a pod wrote, once it runs."""
    file = folder / id_ / "disk" / "seen.json"
    until(file.exists, what="a program that runs")
    return json.loads(file.read_text())


def all_dead(ids):
    return not any(psutil.pid_exists(i) and psutil.Process(i).status() != psutil.STATUS_ZOMBIE for i in ids)


def test_the_program_gets_the_pods_environment_a_key_of_its_own_and_nothing_of_the_server(
    fake, client, tmp_path, monkeypatch
):
    monkeypatch.setenv("SECRET_KEY", "of the server")
    id_ = client.made(env={"JOB_ID": "j"})
    got = seen(tmp_path, id_)["environment"]
    assert (got["JOB_ID"], got["RUNPOD_POD_ID"], got["RUNPOD_GPU_COUNT"]) == ("j", id_, "1")
    assert got["RUNPOD_API_KEY"] == fake.pods()[0].key
    assert got["STOKER_POD_API_URL"] == fake.url
    assert "SECRET_KEY" not in got
    with Client(fake.url, got["RUNPOD_API_KEY"]) as inside:
        assert inside.delete_pod(id_) == 204


def test_an_ended_pod_takes_every_process_and_its_disk_with_it(fake, client, tmp_path):
    id_ = client.made()
    ids = seen(tmp_path, id_)["ids"]
    fake.fault("vanish")
    until(lambda: all_dead(ids))
    until(lambda: not (tmp_path / id_ / "disk").exists())


def test_preemption_says_sigterm_first_and_kills_after_the_grace(fake, client, tmp_path):
    id_ = client.made()
    ids = seen(tmp_path, id_)["ids"]
    fake.fault("preempt", grace=0.3)
    assert client.pod(id_).json()["status"] == "EXITED"
    until(lambda: "told to end" in (tmp_path / id_ / "output.log").read_text())
    until(lambda: all_dead(ids))


def test_a_program_that_exits_is_started_again_and_billed(fake, client, monkeypatch):
    monkeypatch.setattr("tests.fakes.runpod.pods.RESTART_PAUSE", 0.01)
    id_ = client.made(env={"ENDS": "1"})
    until(lambda: fake.pods()[0].restarts >= 2)
    pod = client.pod(id_).json()
    assert (pod["status"], pod["cost"], pod["runtime"]["uptime"]) == ("RUNNING", 0.27, 0)
    assert sum("exit code 3" in line for _, line in fake.pods()[0].events) >= 2


def test_its_output_is_in_the_log_until_it_is_removed(fake, client, tmp_path):
    id_ = client.made()
    seen(tmp_path, id_)
    until(lambda: "running" in (tmp_path / id_ / "output.log").read_text())
    with client.call("GET", f"/pods/{id_}/logs?source=container", stream=True) as answer:
        line = next(line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"data: "))
    assert json.loads(line.removeprefix(b"data: "))["line"] == "running"
    client.delete_pod(id_)
    assert client.call("GET", f"/pods/{id_}/logs").status_code == 404


def test_a_program_may_be_cut_off_from_the_server(fake, client, tmp_path):
    fake.fault("cut_off")
    id_ = client.made(env={"METRICS_API_URL": "http://127.0.0.1:8000/api"})
    assert seen(tmp_path, id_)["environment"]["METRICS_API_URL"].startswith("http://127.0.0.1:9/")


def test_a_pod_of_another_hand_runs_no_program_of_ours(fake, client, tmp_path):
    fake.plant("foreign", KEY)
    seen(tmp_path, client.made())
    assert fake.host.running() == 1
    assert client.names() == ["ft-1-a0", "foreign"]


def test_programs_outlive_a_killed_host_and_are_found_again(tmp_path):
    arguments = ["--quick", "--state", tmp_path / "state.json", "--pods", tmp_path / "pods"]
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    arguments += ["--command", f"{sys.executable} -I -S {script}"]
    with process(*arguments) as (program, client):
        id_ = client.made()
        ids = seen(tmp_path / "pods", id_)["ids"]
        program.kill()
    assert not all_dead(ids)
    with process(*arguments) as (program, client):
        client.control("POST", "fault", {"kind": "vanish"})
        until(lambda: all_dead(ids))
        assert client.pod(id_).status_code == 404
