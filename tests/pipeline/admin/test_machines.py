"""The leak board: operators see what runs, whose it is and what it costs, and end it from there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from pipeline.models import AccountLook, Attempt, Credential, Job, MachineSighting
from pipeline.providers.base import Unavailable
from pipeline.services import submission, sweeping
from pipeline.services.machines import accounts_now, forgotten
from tests.factories import make_job
from tests.fakes.provider import ScriptedProvider, World

BOARD = "/admin/pipeline/machinesighting/"
ACT = f"{BOARD}act/"


def rented(owner: Any) -> tuple[Job, Attempt]:
    job = make_job(owner.user, start=True)
    submission.submit(job.pk)
    return job, job.attempts.get()


def left_over(owner: Any, world: World, external_id: str, **fields: object) -> Attempt:
    """A machine that outlived its attempt by an hour, as the next look will find it."""
    _job, attempt = rented(owner)
    world.machines.pop(attempt.name)
    Attempt.objects.filter(pk=attempt.pk).update(
        state="gone", gone_at=Now() - timedelta(hours=1), gone_evidence="It said so.", reason="completed"
    )
    world.stray(attempt.name, external_id, **fields)
    return attempt


def look() -> None:
    for one in sweeping.known_looks():
        sweeping.sweep(one)


def press(client: Client, do: str, number: Any = "") -> list[str]:
    answer = client.post(ACT, {"do": do, "id": number}, follow=True)
    assert answer.redirect_chain == [(BOARD, 302)]
    return [str(message) for message in answer.context["messages"]]


def test_it_shows_what_runs_whose_it_is_and_what_it_costs(operator, owner, world):
    job, attempt = rented(owner)
    world.change(attempt.name, created_at=timezone.now() - timedelta(hours=2))
    look()
    page = operator.get(BOARD).content.decode()
    for text in (attempt.external_id, attempt.name, job.name, owner.user.username, "$3.60", "$7.20", "2\xa0hours"):
        assert text in page, text
    assert "Nothing is ended here by itself" not in page


def test_an_attempt_that_no_list_has_shown_is_there_too(operator, owner, world, monkeypatch):
    monkeypatch.setattr(ScriptedProvider, "finds_by_name", False)
    job, attempt = rented(owner)
    page = operator.get(BOARD).content.decode()
    assert "Its machines cannot be listed" in page
    assert attempt.name in page
    assert press(operator, "cancel", job.pk) == ["The job is being cancelled."]
    job.refresh_from_db()
    assert job.status == "cancelling"


def test_what_was_forgotten_is_counted_with_its_cost(operator, owner, world):
    left_over(owner, world, "zombie", created_at=timezone.now() - timedelta(hours=5))
    look()
    MachineSighting.objects.update(gone_at=Now(), missing_since=Now())
    told = forgotten(timezone.now())
    assert (told.count, told.still_there) == (1, 0)
    assert float(told.cost) == pytest.approx(3.60, abs=0.05), "from the end of its attempt on, an hour ago"
    page = operator.get(BOARD).content.decode()
    assert "1 machine" in page
    MachineSighting.objects.update(gone_at=Now() - timedelta(days=31))
    assert forgotten(timezone.now()).count == 0


def test_a_machine_in_an_account_of_two_people_is_counted_once(owner, world):
    left_over(owner, world, "zombie")
    look()
    one = MachineSighting.objects.get()
    one.pk, one.credential = None, Credential.objects.create(owner=owner.user, provider="scripted", secret=b"")
    one.save()
    told = forgotten(timezone.now())
    assert (MachineSighting.objects.count(), told.count) == (2, 1)


def test_problems_come_first(owner, world, settings):
    settings.STOKER_PROVIDERS |= {"simulated": "pipeline.providers.simulated.SimulatedProvider"}
    rented(owner)
    look()
    AccountLook.objects.filter(provider="simulated").update(problem="The key was refused.")
    now = timezone.now()
    assert [one.provider for one in accounts_now(sweeping.known_looks(), now)] == ["simulated", "scripted"]
    for number in range(4):
        left_over(owner, world, f"zombie{number}")
    look()
    accounts = accounts_now(sweeping.known_looks(), timezone.now())
    assert [one.provider for one in accounts] == ["scripted", "simulated"]
    assert len(accounts[0].held_back) == 4
    assert [one.whose.forgotten for one in accounts[0].machines] == [True] * 4 + [False]


def test_the_button_of_an_owned_machine_cancels_its_job(operator, owner, world):
    job, _attempt = rented(owner)
    look()
    assert press(operator, "end", MachineSighting.objects.get().pk) == [f"“{job.name}” is being cancelled."]
    job.refresh_from_db()
    assert job.events.filter(actor="operator", data__to="cancelling").exists()


def test_what_is_held_back_is_ended_when_an_operator_confirms(operator, owner, world):
    for number in range(4):
        left_over(owner, world, f"zombie{number}")
    look()
    assert len(world.strays) == 4
    page = operator.get(BOARD).content.decode()
    assert "4 of 4 machines look forgotten at once" in page
    said = press(operator, "confirm", AccountLook.objects.get().pk)
    assert said == [f"zombie{number} was told to end. It stays here until it is gone." for number in range(4)]
    assert world.strays == []


def test_one_of_those_held_back_can_be_ended_alone(operator, owner, world):
    for number in range(4):
        left_over(owner, world, f"zombie{number}")
    look()
    press(operator, "end", MachineSighting.objects.get(external_id="zombie2").pk)
    assert [one.external_id for one in world.strays] == ["zombie0", "zombie1", "zombie3"]


def test_an_order_that_does_not_get_through_is_shown(operator, owner, world):
    left_over(owner, world, "zombie")
    world.stop_error = Unavailable("The provider answered with 500.")
    assert press(operator, "look") == ["scripted: 1 machine. 1 told to end."]
    page = operator.get(BOARD).content.decode()
    assert "Not ended yet: The provider answered with 500." in page


def test_look_now_says_when_it_did_not_work(operator, owner, world):
    world.list_error = Unavailable("The provider answered with 500.")
    (look_id,) = sweeping.known_looks().values_list("pk", flat=True)
    assert press(operator, "look", look_id) == ["scripted: The provider answered with 500."]
    assert "The last look did not work" in operator.get(BOARD).content.decode()


@pytest.mark.parametrize(
    ("do", "number"), [("end", "99999"), ("end", "x"), ("cancel", "x"), ("explode", "1"), ("", ""), ("confirm", "")]
)
def test_odd_requests_get_a_sentence(operator, world, do, number):
    assert press(operator, do, number) == ["That is not there any more. Look at the board again."]


def test_only_operators_see_it_and_only_those_who_may_act_get_buttons(owner, signed_out, world):
    rented(owner)
    look()
    for client in (owner.browser, signed_out.browser):
        assert client.get(BOARD).status_code == 302
        assert client.post(ACT, {"do": "look"}).status_code == 302
    watcher = User.objects.create_user("watcher", is_staff=True)
    client = Client()
    client.force_login(watcher)
    assert client.get(BOARD).status_code == 403
    watcher.user_permissions.add(Permission.objects.get(codename="view_machinesighting"))
    page = client.get(BOARD)
    assert page.status_code == 200
    assert "Look now" not in page.content.decode()
    assert client.post(ACT, {"do": "look"}).status_code == 403
    assert client.get(ACT).status_code == 403


def test_many_machines_need_no_more_queries(operator, owner, world):
    rented(owner)
    look()
    operator.get(BOARD)
    with CaptureQueriesContext(connection) as few:
        operator.get(BOARD)
    for _ in range(5):
        rented(owner)
    look()
    with CaptureQueriesContext(connection) as many:
        operator.get(BOARD)
    assert len(many) == len(few)
