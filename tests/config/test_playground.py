"""A playground: no process of it knows a real address, and everything imitated says that it is."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys

import pytest
from django.contrib.auth.signals import user_logged_in
from django.core.management import CommandError, call_command
from django.utils import timezone

from pipeline import accounts
from pipeline.config import playground, playground_accounts
from pipeline.config.env import Refused
from pipeline.config.supervisor import ROOT, Stack
from pipeline.models import Credential, MachineSighting
from pipeline.providers.imitated import ImitatedCluster, ImitatedRunPod
from pipeline.providers.runpod import catalog
from pipeline.services import credentials
from pipeline.services.ending import close_attempt
from pipeline.states import EndReason
from tests.conftest import OUTSIDE, free_port
from tests.factories import make_running_job, make_user
from tests.fakes.cluster import FakeCluster
from tests.fakes.runpod import FakeRunPod

REAL = {"RUNPOD_API_URL": "https://api.runpod.io/v2", "GPU_CLUSTER_API_URL": "https://gpu.example.org"}


def two_free_ports_after():
    """A port whose two successors are free."""
    for _ in range(50):
        port = free_port()
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port + 1))
                second.bind(("127.0.0.1", port + 2))
            except OSError:
                continue
            return port
    raise AssertionError("No three free ports in a row.")


@pytest.fixture
def imitated(settings, tmp_path):
    """The settings of a playground, before imitations that run."""
    catalog.forget()
    with FakeRunPod() as runpod, FakeCluster() as cluster:
        settings.STOKER_PLAYGROUND = True
        settings.STOKER_PROVIDERS = {**settings.STOKER_PROVIDERS, **playground.PROVIDERS}
        settings.STOKER_HOME = tmp_path
        settings.RUNPOD_API_URL, settings.RUNPOD_GRAPHQL_URL = runpod.url, runpod.graphql_url
        settings.RUNPOD_IMAGE = "imitated"
        settings.GPU_CLUSTER_API_URL = cluster.url
        yield runpod
    catalog.forget()


# Addresses and processes


def test_real_addresses_are_replaced_for_every_process():
    given = playground.with_imitations({**REAL, "STOKER_PLAYGROUND": "1", "PORT": "9000"})
    assert given["RUNPOD_API_URL"] == "http://127.0.0.1:9001/v2"
    assert given["GPU_CLUSTER_API_URL"] == "http://127.0.0.1:9002"
    assert given["RUNPOD_IMAGE"]
    assert "runpod.io" not in json.dumps(dict(given))


def test_without_the_setting_nothing_changes(tmp_path):
    assert playground.with_imitations(REAL) == REAL
    assert playground.commands({**REAL, "STOKER_HOME": str(tmp_path)}) == {}


def test_a_port_too_high_or_taken_is_refused_with_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(playground, "FREE_SECONDS", 0)
    with pytest.raises(Refused, match="needs the two ports after PORT, but PORT is 65534"):
        playground.ports({"PORT": "65534"})
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        wanted = {"STOKER_PLAYGROUND": "1", "PORT": str(taken - 1), "STOKER_HOME": str(tmp_path)}
        with pytest.raises(Refused, match=rf"Port {taken} on 127.0.0.1, on which the playground would imitate runpod"):
            playground.commands(wanted)


def test_a_product_whose_neighbours_find_no_port_does_not_start(tmp_path, monkeypatch):
    monkeypatch.setattr(playground, "FREE_SECONDS", 0)
    port = two_free_ports_after()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port + 2))
        other.listen()
        with pytest.raises(Refused, match="would imitate cluster, cannot be used"):
            Stack(tmp_path, port=port, environment={**OUTSIDE, "STOKER_PLAYGROUND": "1"}).start()
    assert not (tmp_path / "postgres").exists()


def test_both_imitations_start_where_the_settings_say_and_end_when_told(tmp_path):
    wanted = {"STOKER_PLAYGROUND": "1", "PORT": str(two_free_ports_after()), "STOKER_HOME": str(tmp_path)}
    told = playground.with_imitations(wanted)
    addresses = {"runpod": told["RUNPOD_API_URL"], "cluster": told["GPU_CLUSTER_API_URL"]}
    started = {
        name: subprocess.Popen([sys.executable, *words], cwd=ROOT, env={**OUTSIDE, **told}, stdout=subprocess.PIPE)
        for name, words in playground.commands(wanted).items()
    }
    try:
        for name, program in started.items():
            said = program.stdout.readline().decode()
            assert f" {addresses[name]} (key: {playground.KEY})" in said
            program.terminate()
        assert [program.wait(20) for program in started.values()] == [0, 0]
    finally:
        for program in started.values():
            program.kill()
            program.wait()
            program.stdout.close()


# What people see


def test_providers_and_offers_say_what_is_imitated(imitated, db):
    person = make_user()
    assert playground_accounts.open_for(person) == 2
    for name, kind in (("runpod", ImitatedRunPod), ("cluster", ImitatedCluster)):
        provider = accounts.provider_for(person, name)
        assert isinstance(provider, kind)
        assert "imitated" in provider.label
        offers = provider.offers()
        assert offers
        assert all("imitated" in offer.label and "nothing is billed" in offer.note for offer in offers)
    assert ImitatedCluster.simulated
    assert not ImitatedRunPod.simulated


@pytest.mark.parametrize("on", [True, False])
def test_every_page_says_so_and_only_in_a_playground(settings, owner, signed_out, on):
    settings.STOKER_PLAYGROUND = on
    for person, path in ((owner, "/jobs/"), (owner, "/settings/"), (signed_out, "/sign-in/")):
        assert (playground_accounts.SAYS in person.browser.get(path).content.decode()) is on
    owner.user.is_staff = owner.user.is_superuser = True
    owner.user.save()
    assert ("nothing is billed" in owner.browser.get("/admin/").content.decode()) is on


def test_the_key_is_saved_at_sign_in_and_an_own_one_is_kept(imitated, db):
    person = make_user()
    own = credentials.save(person, "runpod", secret=playground.KEY)
    playground_accounts.on_sign_in(sender=type(person), user=person, request=None, signal=user_logged_in)
    assert set(Credential.objects.values_list("provider", flat=True)) == {"runpod", "cluster"}
    assert Credential.objects.get(provider="runpod").pk == own.pk


def test_a_sign_in_succeeds_though_the_imitation_is_down(imitated, db):
    imitated.close()
    assert playground_accounts.open_for(make_user()) == 1


# Changing over


def test_a_playground_is_left_and_its_keys_are_forgotten(imitated, settings, db):
    person = make_user()
    playground_accounts.change_over()
    playground_accounts.open_for(person)
    settings.STOKER_PLAYGROUND = False
    playground_accounts.change_over()
    assert not Credential.objects.exists()
    playground_accounts.change_over()


@pytest.mark.parametrize("into", [True, False])
def test_changing_over_is_refused_while_a_machine_of_the_other_side_may_run(imitated, settings, db, into):
    settings.STOKER_PLAYGROUND = not into
    playground_accounts.change_over()
    _, attempt, _ = make_running_job(make_user(), provider="runpod")
    settings.STOKER_PLAYGROUND = into
    with pytest.raises(Refused, match="1 rented machine may still run"):
        playground_accounts.change_over()
    close_attempt(attempt, EndReason.COMPLETED, "It was seen to be gone.")
    playground_accounts.change_over()


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_playground_with_a_machine_on_the_leak_board_is_not_left(imitated, settings, db, forgotten):
    person = make_user()
    playground_accounts.change_over()
    playground_accounts.open_for(person)
    _, attempt, _ = make_running_job(person, provider="runpod")
    close_attempt(attempt, EndReason.COMPLETED, "It was seen to be gone.")
    MachineSighting.objects.create(
        provider="runpod", credential=Credential.objects.get(provider="runpod"), name=attempt.name, external_id="x",
        attempt=None if forgotten else attempt, verdict="orphan" if forgotten else "owned", state="running",
        first_seen_at=timezone.now(), last_seen_at=timezone.now(),
    )  # fmt: skip
    settings.STOKER_PLAYGROUND = False
    if forgotten:
        with pytest.raises(Refused, match="leak board"):
            playground_accounts.change_over()
    else:
        playground_accounts.change_over()
        assert not Credential.objects.exists()


def test_outside_a_playground_no_key_is_saved(settings, db):
    with pytest.raises(CommandError, match="This is no playground"):
        call_command("open_playground")


def test_a_command_in_another_terminal_belongs_to_the_playground_that_runs(tmp_path):
    variables = REAL | {"STOKER_HOME": str(tmp_path), "PORT": "8000"}
    playground.mark(tmp_path, 8500)
    assert playground.with_imitations(variables) == variables, "nothing runs there now"
    with open(tmp_path / "stack.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("http://127.0.0.1:8500, process 1\n")
        lock.flush()
        seen = playground.with_imitations(variables)
        assert (seen["RUNPOD_API_URL"], seen["PORT"]) == ("http://127.0.0.1:8501/v2", "8500")
        assert (
            playground.with_imitations(variables | {"STOKER_PLAYGROUND": "0"})["RUNPOD_API_URL"]
            == REAL["RUNPOD_API_URL"]
        )
        playground.mark(tmp_path, None)
        assert playground.with_imitations(variables) == variables, "what runs there is none"
