"""Submissions whose answer was lost, at a cluster that cannot be searched: never twice, never forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from pipeline.live.state import job_state
from pipeline.models import Attempt, CallOutcome, Job, ProviderCall
from pipeline.providers.base import MachineRef
from pipeline.services import submission, unknown
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel
from pipeline.states import AttemptState, EndReason, JobStatus
from tests.factories import make_job
from tests.fakes.cluster import FakeCluster
from tests.pipeline.rented_cluster import cluster_of, submitted
from tests.pipeline.steps import look, shift
from tests.waiting import until

pytestmark = pytest.mark.django_db


@pytest.fixture
def plain(owner: Any, settings: Any) -> Iterator[FakeCluster]:
    """A cluster that would make a second job of a second submission."""
    with cluster_of(owner.user, settings, idempotent=False) as fake:
        yield fake


@pytest.fixture
def careful(owner: Any, settings: Any) -> Iterator[FakeCluster]:
    """A cluster that makes one job of all submissions of one name."""
    with cluster_of(owner.user, settings, idempotent=True) as fake:
        yield fake


@pytest.fixture
def held(owner: Any, plain: FakeCluster) -> tuple[Job, Attempt]:
    """A job that exists at the cluster, which nobody here knows for sure."""
    plain.fault("submit", "lost")
    return submitted(owner.user)


def seen(attempt: Attempt) -> Attempt:
    attempt.refresh_from_db()
    return attempt


class TestHeld:
    def test_nothing_is_asked_for_twice_however_long_it_takes(
        self, held: tuple[Job, Attempt], plain: FakeCluster
    ) -> None:
        job, attempt = held
        for _ in range(5):
            shift(attempt, create_unknown_since=timedelta(days=3), created_at=timedelta(days=3))
            look(job)
            submission.submit(job.pk)
        assert plain.count("submit") == 1
        assert seen(attempt).state == AttemptState.INTENT
        assert job.status == JobStatus.INITIALIZING
        assert ProviderCall.objects.get(attempt=attempt).outcome == CallOutcome.UNKNOWN

    def test_the_page_says_what_is_wrong_and_who_must_act(self, held: tuple[Job, Attempt]) -> None:
        state = job_state(look(held[0]))
        assert state["current_stage"] == "create_unknown"
        assert "An operator must say" in state["stage_label"]
        assert held[0].events.filter(data__stage="create_unknown").count() == 1
        look(held[0])
        assert held[0].events.filter(data__stage="create_unknown").count() == 1

    def test_a_worker_that_died_in_the_call_is_no_reason_to_call_again(self, owner: Any, plain: FakeCluster) -> None:
        job = make_job(owner.user, provider="cluster", start=True)
        lease = submission.claim(job.pk, JobStatus.QUEUED)
        assert lease is not None
        attempt = submission._write_intent(job.pk, lease, owner.user.credentials.get())
        ProviderCall.objects.create(attempt=attempt, op="create")
        Job.objects.filter(pk=job.pk).update(lease_token=None, lease_until=None)
        assert look(job).current_stage == "create_unknown"
        assert plain.count("submit") == 0

    def test_a_cancelled_job_is_not_said_to_be_cancelled(self, held: tuple[Job, Attempt], plain: FakeCluster) -> None:
        job, attempt = held
        request_cancel(job.pk, actor="owner")
        for _ in range(3):
            assert look(job).status == JobStatus.CANCELLING
        assert plain.count("cancel") == 0
        unknown.adopt_unknown(attempt, plain.named(attempt.name)[0]["id"], actor="operator")
        until(lambda: look(job).status == JobStatus.CANCELLED, 10, "the job to be cancelled")
        assert plain.alive() == []


class TestOperator:
    def test_an_id_is_believed_when_the_cluster_says_the_same(
        self, held: tuple[Job, Attempt], plain: FakeCluster
    ) -> None:
        job, attempt = held
        external_id = plain.named(attempt.name)[0]["id"]
        unknown.adopt_unknown(attempt, f" {external_id} ", actor="operator")
        assert (attempt.state, attempt.external_id) == (AttemptState.LIVE, external_id)
        assert job.events.filter(actor="operator", data__what="settled").exists()
        plain.change(attempt.name, status="completed")
        assert look(job).status == JobStatus.COMPLETED
        assert plain.count("submit") == 1

    def test_no_other_id_is(self, held: tuple[Job, Attempt], owner: Any, plain: FakeCluster) -> None:
        job, attempt = held
        _, other = submitted(owner.user)
        plain.submit({"job_id": "stoker-of-somebody-else"}, "")
        foreign = plain.named("stoker-of-somebody-else")[0]["id"]
        for external_id, sentence in (
            ("", "Give the id"),
            ("x" * 201, "Give the id"),
            ("c-nothing", "knows nothing under the id"),
            ("../submit", "cannot be the id"),
            (foreign, "answered for another job"),
            (other.external_id, f"belongs to {other.name}"),
        ):
            with pytest.raises(Conflict, match=sentence):
                unknown.adopt_unknown(attempt, external_id, actor="operator")
        plain.fault("status", "html")
        with pytest.raises(Conflict, match="could not be asked"):
            unknown.adopt_unknown(attempt, plain.named(attempt.name)[0]["id"], actor="operator")
        assert seen(attempt).state == AttemptState.INTENT
        assert look(job).status == JobStatus.INITIALIZING

    def test_a_statement_that_there_is_nothing_ends_the_attempt_under_a_name(
        self, held: tuple[Job, Attempt], plain: FakeCluster
    ) -> None:
        job, attempt = held
        plain.vanish(attempt.name)
        unknown.close_unknown(attempt, actor="grace")
        assert (seen(attempt).state, attempt.reason) == (AttemptState.NEVER_CREATED, EndReason.PROVIDER_ERROR)
        assert "grace looked at the provider" in attempt.gone_evidence
        job.refresh_from_db()
        assert job.status == JobStatus.QUEUED
        submission.submit(job.pk)
        assert plain.alive() == [f"{attempt.name[:-1]}2"]

    def test_a_cancelled_job_ends_with_it(self, held: tuple[Job, Attempt]) -> None:
        job, attempt = held
        request_cancel(job.pk)
        unknown.close_unknown(attempt, actor="grace")
        job.refresh_from_db()
        assert (job.status, job.reason) == (JobStatus.CANCELLED, EndReason.CANCELLED_BY_USER)

    def test_what_has_called_is_not_nothing(self, held: tuple[Job, Attempt]) -> None:
        shift(held[1], first_contact_at=timedelta(0))
        with pytest.raises(Conflict, match="does exist"):
            unknown.close_unknown(held[1], actor="grace")

    def test_what_is_known_or_being_looked_after_is_not_settled(
        self, held: tuple[Job, Attempt], owner: Any, plain: FakeCluster
    ) -> None:
        _, known = submitted(owner.user)
        for settle in (
            lambda attempt: unknown.close_unknown(attempt, actor="grace"),
            lambda attempt: unknown.adopt_unknown(attempt, "c-1", actor="grace"),
        ):
            with pytest.raises(Conflict, match="nothing to settle"):
                settle(known)
            lease = submission.claim(held[0].pk, JobStatus.INITIALIZING)
            assert lease is not None
            with pytest.raises(Conflict, match="looked after at this moment"):
                settle(held[1])
            submission.release(held[0].pk, lease)


class TestRepeated:
    def test_the_same_submission_is_repeated_until_its_answer_arrives(self, owner: Any, careful: FakeCluster) -> None:
        careful.fault("submit", "lost", times=4)
        job, attempt = submitted(owner.user)
        for _ in range(3):
            look(job)
        assert seen(attempt).state == AttemptState.INTENT
        look(job)
        assert seen(attempt).state == AttemptState.LIVE
        assert careful.count("submit") == 5
        assert careful.alive() == [attempt.name], "one job, however often it was asked for"
        keys = {request["headers"]["Idempotency-Key"] for request in careful.requests if request["call"] == "submit"}
        addresses = {request["body"]["callback_url"] for request in careful.requests if request["call"] == "submit"}
        assert keys == {attempt.name}
        assert len(addresses) == 1

    @pytest.mark.parametrize("code", [401, 402, 422, 429])
    def test_a_refusal_of_the_repeat_says_nothing_about_the_first(
        self, owner: Any, careful: FakeCluster, code: int
    ) -> None:
        careful.fault("submit", "lost")
        careful.fault("submit", "error", code=code)
        job, attempt = submitted(owner.user)
        look(job)
        assert seen(attempt).state == AttemptState.INTENT
        assert job.status == JobStatus.INITIALIZING
        look(job)
        assert seen(attempt).state == AttemptState.LIVE
        assert careful.alive() == [attempt.name]

    def test_a_cancelled_one_is_found_out_and_then_ended(self, owner: Any, careful: FakeCluster) -> None:
        careful.fault("submit", "lost")
        job, _ = submitted(owner.user)
        request_cancel(job.pk)
        until(lambda: look(job).status == JobStatus.CANCELLED, 10, "the job to be cancelled")
        assert careful.alive() == []


class TestNeverSent:
    def test_a_cluster_that_cannot_be_reached_is_asked_later_by_the_same_attempt(
        self, owner: Any, plain: FakeCluster
    ) -> None:
        port = int(plain.url.rpartition(":")[2])
        plain.close()
        job, attempt = submitted(owner.user)
        assert seen(attempt).create_unknown_since is None
        assert "cannot be reached" in job_state(job)["stage_label"]
        look(job)
        assert job.attempts.count() == 1
        with FakeCluster(port=port, idempotent=False) as again:
            look(job)
            assert seen(attempt).state == AttemptState.LIVE
            assert again.alive() == [attempt.name]
        job.refresh_from_db()
        assert job.current_stage == "provisioning"

    def test_a_cancel_meanwhile_ends_the_job_at_once(self, owner: Any, plain: FakeCluster) -> None:
        plain.close()
        job, attempt = submitted(owner.user)
        request_cancel(job.pk)
        assert look(job).status == JobStatus.CANCELLED
        assert seen(attempt).state == AttemptState.NEVER_CREATED


class TestAdmin:
    @pytest.fixture
    def page(self, held: tuple[Job, Attempt]) -> str:
        return f"/admin/pipeline/attempt/{held[1].pk}/settle/"

    @pytest.fixture
    def operator(self, held: tuple[Job, Attempt]) -> Any:
        from django.contrib.auth.models import User
        from django.test import Client

        client = Client()
        client.force_login(User.objects.create_superuser("operator"))
        return client

    def test_an_operator_records_what_they_found(
        self, page: str, operator: Any, held: tuple[Job, Attempt], plain: FakeCluster
    ) -> None:
        change = reverse("admin:pipeline_attempt_change", args=[held[1].pk])
        assert page in operator.get(change).content.decode()
        assert held[1].name in operator.get(page).content.decode()
        wrong = operator.post(page, {"exists": "yes", "external_id": "c-nothing"})
        assert "knows nothing under the id c-nothing" in wrong.content.decode()
        right = operator.post(page, {"exists": "yes", "external_id": plain.named(held[1].name)[0]["id"]})
        assert right.status_code == 302
        assert seen(held[1]).state == AttemptState.LIVE
        assert page not in operator.get(change).content.decode(), "there is nothing left to say"
        assert operator.get(page).status_code == 403

    def test_that_there_is_nothing_is_recorded_too(self, page: str, operator: Any, held: tuple[Job, Attempt]) -> None:
        assert operator.post(page, {}).status_code == 200
        assert operator.post(page, {"exists": "yes"}).status_code == 200
        assert operator.post(page, {"exists": "no", "external_id": "c-1"}).status_code == 200
        assert seen(held[1]).is_open
        assert operator.post(page, {"exists": "no"}).status_code == 302
        assert seen(held[1]).gone_evidence.startswith("operator looked at the provider")
        late = operator.post(page, {"exists": "no"}, follow=True)
        assert "nothing to settle" in late.content.decode()

    def test_nobody_else_does(self, page: str, owner: Any, stranger: Any, signed_out: Any, held: Any) -> None:
        type(stranger.user).objects.filter(pk=stranger.user.pk).update(is_staff=True)
        assert stranger.browser.post(page, {"exists": "no"}).status_code == 403
        assert stranger.browser.get(page).status_code == 403
        for person in (owner, signed_out):
            assert person.browser.post(page, {"exists": "no"}).status_code == 302
            assert person.browser.post(page, {"exists": "no"}).headers["Location"].startswith("/admin/login/")
        assert seen(held[1]).is_open


def test_a_name_alone_leads_to_no_call(plain: FakeCluster, owner: Any) -> None:
    from pipeline.accounts import provider_for

    assert provider_for(owner.user, "cluster").observe([MachineRef("stoker-1")]) == {}
    assert plain.requests == []
