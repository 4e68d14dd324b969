"""Operators act through the same services as everybody, and see what came of it for each row."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from pipeline.models import Job, Preset
from pipeline.services import submission
from tests.factories import make_job

LIST = "/admin/pipeline/job/"


def act(client: Any, action: str, *rows: Any, model: str = "job") -> list[str]:
    body = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    answer = client.post(reverse(f"admin:pipeline_{model}_changelist"), body, follow=True)
    assert answer.redirect_chain, answer.content
    return [str(message) for message in answer.context["messages"]]


def save(client: Any, job: Job, **fields: Any) -> Any:
    page = client.get(reverse("admin:pipeline_job_change", args=[job.pk]))
    form = page.context["adminform"].form
    body = {name: form[name].value() for name in form.fields}
    for formset in page.context["inline_admin_formsets"]:
        management = formset.formset.management_form
        body |= {management.add_prefix(name): management[name].value() for name in management.fields}
    body = {name: "" if value is None else value for name, value in (body | fields).items()}
    return client.post(reverse("admin:pipeline_job_change", args=[job.pk]), body)


def test_cancel_says_for_each_job_what_came_of_it(operator, things):
    said = act(operator, "cancel", things.saved, things.running)
    assert "Rünning job: cancellation ordered." in said
    assert "saved job: This job was never started, so there is nothing to cancel. Delete it instead." in said
    things.running.refresh_from_db()
    assert things.running.status == "cancelling"
    assert things.running.events.filter(actor="operator", data__to="cancelling").exists()
    assert act(operator, "cancel", things.running) == ["Rünning job: was being cancelled already."]


def test_start_queues_a_saved_job(operator, things):
    assert act(operator, "start", things.saved) == ["saved job: queued."]
    assert act(operator, "start", things.saved) == ["saved job: This job was already started."]


def test_retry_makes_a_new_job_of_an_ended_one(operator, things):
    assert "has not ended yet" in act(operator, "retry", things.running)[0]
    Job.objects.filter(pk=things.running.pk).update(
        status="failed", completed_at="2026-01-01T00:00Z", final_cost=0, reason="vanished"
    )
    again = "Rünning job: tried again as {}."
    said = act(operator, "retry", things.running)
    assert said == [again.format(Job.objects.get(status="queued").pk)]


def test_delete_leaves_active_jobs_alone(operator, things):
    said = act(operator, "delete_jobs", things.saved, things.running)
    assert "saved job: deleted." in said
    assert any(text.startswith("Rünning job: This job is active.") for text in said)
    assert list(Job.objects.all()) == [things.running]


@pytest.mark.parametrize("path", ["delete/", "add/"])
def test_there_is_no_way_around_the_services(operator, things, path):
    prefix = f"{LIST}{things.running.pk}/" if path == "delete/" else LIST
    assert operator.get(prefix + path).status_code == 403


def test_resync_looks_at_the_provider_whatever_the_clock_says(operator, owner, world):
    job = make_job(owner.user, start=True)
    submission.submit(job.pk)
    name = job.attempts.get().name
    world.end(name, exit_code=1, detail="It is gone.")
    Job.objects.filter(pk=job.pk).update(next_check_at="2099-01-01T00:00Z", max_attempts=1)
    looks = world.count("observe")
    said = act(operator, "resync", job)
    assert world.count("observe") == looks + 1
    job.refresh_from_db()
    assert said == [f"{job.name}: failed (was initializing)."]


def test_resync_of_a_job_without_a_machine_says_so(operator, things):
    assert act(operator, "resync", things.saved) == ["saved job: has no machine to look at now."]


def test_the_buttons_on_a_jobs_page_act_too(operator, things):
    assert save(operator, things.running, pipeline_job_cancel_this="1").status_code == 302
    things.running.refresh_from_db()
    assert things.running.status == "cancelling"
    assert save(operator, things.saved, pipeline_job_start_this="1").status_code == 302
    things.saved.refresh_from_db()
    assert things.saved.status == "queued"


def test_saving_a_page_writes_the_changed_limit_and_nothing_stale(operator, things):
    before = Job.objects.get(pk=things.running.pk)
    answer = save(operator, before, budget_limit="7.50", status="completed", progress="99", current_cost="0")
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    job = Job.objects.get(pk=before.pk)
    assert str(job.budget_limit) == "7.50"
    assert (job.status, job.progress) == ("running", before.progress)
    assert job.event_seq == before.event_seq + 1


def test_a_preset_with_wrong_values_is_refused(operator, db):
    preset = Preset.objects.get(slug="balanced")
    body = {"name": preset.name, "slug": preset.slug, "description": "", "position": 1, "hyperparameters": '{"r": -1}'}
    page = operator.post(reverse("admin:pipeline_preset_change", args=[preset.pk]), body)
    assert "r must be between 1 and 1,024; it is -1." in page.content.decode()


def test_there_is_always_one_default_preset(operator, db):
    quick = Preset.objects.get(slug="quick-test")
    assert act(operator, "make_default", quick, model="preset") == ["Quick test is the default now."]
    assert Preset.objects.get(is_default=True) == quick
    assert act(operator, "make_default", *Preset.objects.all(), model="preset")[0].startswith("Choose exactly one")


def test_revoking_a_token_shuts_its_program_out(operator, things, signed_out):
    headers = {"Authorization": f"Bearer {things.token_text}"}
    assert signed_out.api.get("/api/me/", headers=headers).status_code == 200
    assert act(operator, "revoke", things.token, model="apitoken") == ["1 revoked, 0 were before."]
    assert signed_out.api.get("/api/me/", headers=headers).status_code == 401


def test_a_key_is_checked_and_the_answer_shown(operator, things, rented):
    assert act(operator, "check_now", things.credential, model="credential") == ["owner, rented: the key works."]
    rented.accounts.clear()
    (said,) = act(operator, "check_now", things.credential, model="credential")
    assert said.startswith("owner, rented: Rented does not accept this key.")
