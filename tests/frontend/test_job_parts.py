"""Parts of a job's page as the server renders them: what needs attention, exports, files and the limits dialog."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db.models.functions import Now
from django.utils import timezone

from pipeline.models import Artifact, Attempt, Job
from tests.conftest import Person
from tests.factories import make_running_job


@pytest.fixture
def job(owner: Person) -> Job:
    job, attempt, _ = make_running_job(owner.user, provider="local")
    storages["artifacts"].save(f"{job.pk}/c.zip", ContentFile(b"checkpoint"))
    Artifact.objects.create(
        job=job, attempt=attempt, kind="checkpoint", state="stored", stored_at=Now(), name="checkpoint-4.zip", step=4,
        size_bytes=10, sha256="0" * 64, path=f"{job.pk}/c.zip",
    )  # fmt: skip
    return job


def page_of(person: Person, job: Job) -> str:
    return person.browser.get(f"/jobs/{job.pk}/").content.decode()


def test_every_export_of_the_menu_is_there(owner, job):
    links = re.findall(r'class="menu-item" href="(/api/jobs/[^"]+)"', page_of(owner, job))
    assert len(links) == 5
    for link in links:
        answer: Any = owner.browser.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200, link
        assert answer["Content-Disposition"].startswith("attachment"), link


def test_the_tab_counts_the_files_that_are_stored(owner, job):
    assert re.search(r'id="file-count"\s*>1</span>', page_of(owner, job))
    Artifact.objects.update(state="uploading", stored_at=None)
    assert re.search(r'id="file-count" hidden>0</span>', page_of(owner, job))


def test_a_machine_that_does_not_go_is_told_before_any_script_runs(owner, job):
    Attempt.objects.filter(job=job).update(stop_sent_at=timezone.now() - timedelta(minutes=1), price_per_hour=1)
    page = page_of(owner, job)
    assert "<h2>Stopping: the machine is still there and billed</h2>" in page
    (data,) = re.findall(r'<script id="situation-data" type="application/json">(.*?)</script>', page)
    assert json.loads(data)[0]["kind"] == "stopping"


def test_in_good_order_nothing_asks_for_attention(owner, job):
    assert re.search(r'id="situation"[^>]*hidden', page_of(owner, job))


def test_the_limits_dialog_names_its_fields(owner, job):
    page = page_of(owner, job)
    assert '<label for="limits-budget">' in page
    assert '<label for="limits-hours">' in page
