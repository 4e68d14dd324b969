"""An operator ends a machine without grace, and closes what cannot be found out any more."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from pipeline.models import Attempt, Job
from pipeline.providers.base import Unavailable
from pipeline.services import submission
from tests.factories import make_job

LIST = "/admin/pipeline/job/"


def rented(owner: Any) -> tuple[Job, Attempt]:
    job = make_job(owner.user, start=True)
    submission.submit(job.pk)
    return job, job.attempts.get()


def post(client: Client, path: str, **body: Any) -> list[str]:
    answer = client.post(path, body, follow=True)
    assert answer.redirect_chain, answer.content.decode()
    return [str(message) for message in answer.context["messages"]]


def test_chosen_jobs_are_shown_before_anything_is_ordered(operator, owner, world):
    job, attempt = rented(owner)
    page = operator.post(LIST, {"action": "force", "_selected_action": [str(job.pk)]})
    text = page.content.decode()
    assert "What was not saved yet is lost" in text
    assert job.name in text
    assert attempt.external_id in text
    assert not Attempt.objects.exclude(forced_by="").exists()


def test_a_sure_operator_ends_them_and_hears_of_each(operator, owner, world):
    job, _ = rented(owner)
    saved = make_job(owner.user)
    said = post(operator, LIST, action="force", sure="1", _selected_action=[str(job.pk), str(saved.pk)])
    assert f"{job.name}: its end without grace is ordered." in said
    assert any(text.startswith(f"{saved.name}: This job was never started") for text in said)
    assert Attempt.objects.get().forced_by == "operator"
    assert job.events.get(data__what="forced").actor == "operator"


def test_the_page_of_a_job_leads_there(operator, owner, world):
    job, _ = rented(owner)
    path = f"{LIST}{job.pk}/force/"
    assert path in operator.get(reverse("admin:pipeline_job_change", args=[job.pk])).content.decode()
    assert "without grace" in operator.get(path).content.decode()
    assert post(operator, path, sure="1") == [f"{job.name}: its end without grace is ordered."]
    assert post(operator, path, sure="1") == [f"{job.name}: that was ordered before; it is repeated."]


def test_an_attempt_is_closed_on_a_word_that_says_enough(operator, owner, world):
    job, attempt = rented(owner)
    change = reverse("admin:pipeline_attempt_change", args=[attempt.pk])
    close = f"/admin/pipeline/attempt/{attempt.pk}/close/"
    assert close not in operator.get(change).content.decode(), "its end was not ordered"
    post(operator, LIST, action="force", sure="1", _selected_action=[str(job.pk)])
    world.look_error = Unavailable("No route to host")
    assert close in operator.get(change).content.decode()
    refused = operator.post(close, {"evidence": "gone"})
    assert "in 20 to 250 characters" in refused.content.decode()
    word = "Their console was empty at 10:14; support confirmed it in writing."
    assert post(operator, close, evidence=word) == [f"{attempt.name}: closed on your word."]
    attempt.refresh_from_db()
    assert attempt.gone_evidence == f"operator states that the machine is gone: {word}"
    assert "This attempt is over already." in operator.post(close, {"evidence": word}).content.decode()


def test_a_word_does_not_count_while_the_provider_answers(operator, owner, world):
    _, attempt = rented(owner)
    Attempt.objects.update(forced_by="operator")
    page = operator.post(
        f"/admin/pipeline/attempt/{attempt.pk}/close/", {"evidence": "I am very sure that it is gone."}
    )
    assert "The provider answers and shows the machine." in page.content.decode()
    assert Attempt.objects.get().is_open


def test_only_those_who_may_change_jobs_can(owner, world):
    job, attempt = rented(owner)
    watcher = User.objects.create_user("watcher", is_staff=True)
    watcher.user_permissions.set(Permission.objects.filter(codename__in=["view_job", "view_attempt"]))
    client = Client()
    client.force_login(watcher)
    assert "force/" not in client.get(reverse("admin:pipeline_job_change", args=[job.pk])).content.decode()
    assert client.post(f"{LIST}{job.pk}/force/", {"sure": "1"}).status_code == 403
    assert client.post(f"/admin/pipeline/attempt/{attempt.pk}/close/", {"evidence": "x" * 30}).status_code == 403
    client.post(LIST, {"action": "force", "sure": "1", "_selected_action": [str(job.pk)]})
    assert Attempt.objects.get().forced_by == ""
