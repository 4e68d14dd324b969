"""Where rules stand on the pages; what they say comes from the API."""

from __future__ import annotations

from tests.conftest import Person
from tests.factories import make_running_job


def test_a_jobs_page_has_its_rules_and_their_dialog(owner: Person, stranger: Person) -> None:
    job, *_ = make_running_job(owner.user)
    page = owner.browser.get(f"/jobs/{job.pk}/").content.decode()
    assert 'id="tab-rules"' in page
    assert f'data-url="/api/jobs/{job.pk}/rules/" data-live="yes"' in page
    assert page.count('id="rule-dialog"') == 1
    assert stranger.browser.get(f"/jobs/{job.pk}/").status_code == 404


def test_settings_have_the_rules_of_new_jobs(owner: Person) -> None:
    page = owner.browser.get("/settings/").content.decode()
    assert 'data-url="/api/rules/"' in page
    assert "data-live" not in page
    assert page.count('id="rule-dialog"') == 1
