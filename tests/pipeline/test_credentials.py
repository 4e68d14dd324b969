"""Keys at providers: saved once accepted, held to their account while machines run, removed without a trace."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from pipeline import accounts
from pipeline.leases import LeaseLost, claim
from pipeline.models import Attempt, Credential, Job, JobEvent, MachineSighting, ProviderCall
from pipeline.providers.base import Account, AuthError, Refused, Unavailable
from pipeline.providers.secrecy import discreet
from pipeline.services import credentials, submission
from pipeline.services.errors import Conflict, InvalidInput
from pipeline.states import JobStatus
from tests.factories import make_job, make_user
from tests.fakes.provider import RentedProvider, World
from tests.pipeline.steps import look

pytestmark = pytest.mark.django_db

KEY, OTHER_KEY, SAME_ACCOUNT = "rpa_first-key-0001", "rpa_other-key-0002", "rpa_again-key-0003"


@pytest.fixture
def world(rented: World) -> World:
    rented.accounts = {KEY: "ada@lab", SAME_ACCOUNT: "ada@lab", OTHER_KEY: "bob@lab"}
    return rented


@pytest.fixture
def person(world: World) -> Any:
    return make_user()


@pytest.fixture
def credential(person: Any) -> Credential:
    return credentials.save(person, "rented", secret=KEY)


def running(person: Any) -> Job:
    job = make_job(person, provider="rented", start=True)
    submission.submit(job.pk)
    job.refresh_from_db()
    assert job.attempts.get().state == "live"
    return job


def answers_with(world: World, error: Exception, *operations: str) -> None:
    def fault(operation: str, account: Account) -> None:
        if operation in (operations or (operation,)):
            raise error

    world.fault = fault


class TestSave:
    def test_an_accepted_key_is_kept_sealed_with_what_tells_it_apart(self, person: Any) -> None:
        made = credentials.save(person, "rented", secret=f"  {KEY}\n", options={"idempotent": True})
        assert (made.owner, made.provider, made.hint, made.account_name) == (person, "rented", "0001", "ada@lab")
        assert (made.options, made.problem) == ({"idempotent": True}, "")
        assert made.checked_at is not None
        assert KEY.encode() not in bytes(made.secret)
        assert accounts.open_account(made).secret == KEY

    def test_a_hint_is_never_more_than_a_quarter(self, person: Any, world: World) -> None:
        world.accounts["abcdefgh"] = "x"
        assert credentials.save(person, "rented", secret="abcdefgh").hint == "gh"

    def test_another_key_replaces_the_first_and_ends_its_problem(self, person: Any, credential: Credential) -> None:
        accounts.refused(credential, AuthError("It was revoked."))
        again = credentials.save(person, "rented", secret=SAME_ACCOUNT)
        assert (again.pk, again.hint, again.problem) == (credential.pk, "0003", "")
        assert accounts.open_account(again).secret == SAME_ACCOUNT
        assert Credential.objects.count() == 1

    def test_jobs_that_were_told_of_a_problem_are_told_of_its_end(self, person: Any, credential: Credential) -> None:
        job = running(person)
        accounts.refused(credential, AuthError("It was revoked."))
        credentials.save(person, "rented", secret=SAME_ACCOUNT)
        told = list(JobEvent.objects.filter(job=job, data__what="credential").values_list("level", flat=True))
        assert sorted(told) == ["error", "info"]

    @pytest.mark.parametrize("before", [False, True])
    @pytest.mark.parametrize(
        ("error", "raised", "sentence"),
        [
            (AuthError("Rented says no."), InvalidInput, "Rented says no."),
            (Refused("This key may not make machines."), InvalidInput, "This key may not make machines."),
            (Unavailable("Rented does not answer."), Unavailable, "The key could not be checked. Rented does not"),
        ],
    )
    def test_what_the_provider_did_not_accept_is_not_kept_and_nothing_is_lost(
        self, person: Any, world: World, before: bool, error: Exception, raised: Any, sentence: str
    ) -> None:
        if before:
            credentials.save(person, "rented", secret=KEY)
        answers_with(world, error)
        with pytest.raises(raised, match=sentence):
            credentials.save(person, "rented", secret=OTHER_KEY)
        assert [accounts.open_account(one).secret for one in Credential.objects.all()] == ([KEY] if before else [])

    @pytest.mark.parametrize(
        ("given", "field", "sentence"),
        [
            ({"secret": "  "}, "secret", "Paste the key"),
            ({"secret": "short"}, "secret", "8 to 500 characters; this has 5"),
            ({"secret": "x" * 501}, "secret", "this has 501"),
            ({"secret": "two words"}, "secret", "a space"),
            ({"secret": "line\r\nX-Evil: 1"}, "secret", "a line break"),
            ({"secret": "schlüssel-schlüssel"}, "secret", "a character no key has"),
            ({"base_url": "http://gpu.example.org"}, "base_url", "https://"),
            ({"base_url": "https://127.0.0.1"}, "base_url", "this server itself"),
            ({"base_url": "https://1.1.1.1/?x=1"}, "base_url", "? or #"),
            ({"base_url": f"https://1.1.1.1/{'x' * 200}"}, "base_url", "at most 200"),
            ({"options": {"colour": "red"}}, "options", "no option “colour”. It has: idempotent, region"),
            ({"options": {"idempotent": "yes"}}, "options.idempotent", "true or false"),
            ({"options": {"region": 1}}, "options.region", "one line"),
            ({"options": {"region": "a\nb"}}, "options.region", "one line"),
            ({"options": {"region": "x" * 1001}}, "options.region", "at most 1000"),
        ],
    )
    def test_what_cannot_be_a_key_is_refused_before_anybody_is_asked(
        self, person: Any, world: World, given: dict[str, Any], field: str, sentence: str
    ) -> None:
        answers_with(world, AssertionError("asked"))
        with pytest.raises(InvalidInput) as refused:
            credentials.save(person, "rented", **({"secret": KEY} | given))
        assert [error.field for error in refused.value.errors] == [field]
        assert sentence in str(refused.value)
        assert not Credential.objects.exists()

    def test_a_provider_without_accounts_takes_no_key(self, person: Any) -> None:
        with pytest.raises(InvalidInput, match="needs no key"):
            credentials.save(person, "scripted", secret=KEY)

    def test_no_transaction_is_open_while_the_provider_is_asked(self, person: Any, world: World) -> None:
        depth = len(connection.savepoint_ids)
        asked = []

        def fault(operation: str, account: Account) -> None:
            asked.append(len(connection.savepoint_ids))

        world.fault = fault
        credentials.check_again(credentials.save(person, "rented", secret=KEY))
        assert set(asked) == {depth}


class TestWhileMachinesRun:
    def test_a_key_of_the_same_account_is_taken(self, person: Any, credential: Credential) -> None:
        job = running(person)
        credentials.save(person, "rented", secret=SAME_ACCOUNT)
        assert look(job).status == JobStatus.INITIALIZING

    def test_a_key_of_another_account_is_not(self, person: Any, credential: Credential) -> None:
        job = running(person)
        with pytest.raises(Conflict, match="opens another one"):
            credentials.save(person, "rented", secret=OTHER_KEY)
        credential.refresh_from_db()
        assert accounts.open_account(credential).secret == KEY
        assert look(job).status == JobStatus.INITIALIZING

    def test_an_account_under_a_new_name_is_known_by_its_machines(
        self, person: Any, world: World, credential: Credential
    ) -> None:
        job = running(person)
        world.accounts[OTHER_KEY] = "renamed@lab"
        world.rented_by[job.attempts.get().name] = "renamed@lab"
        assert credentials.save(person, "rented", secret=OTHER_KEY).account_name == "renamed@lab"

    def test_accounts_without_a_name_are_told_apart_by_their_machines(self, person: Any, world: World) -> None:
        world.accounts = dict.fromkeys([KEY, OTHER_KEY], "")
        credentials.save(person, "rented", secret=KEY)
        job = running(person)
        world.hidden.add(job.attempts.get().name)
        with pytest.raises(Conflict):
            credentials.save(person, "rented", secret=OTHER_KEY)
        world.hidden.clear()
        credentials.save(person, "rented", secret=OTHER_KEY)

    def test_another_address_is_another_account(self, person: Any, settings: Any, credential: Credential) -> None:
        settings.STOKER_PRIVATE_URLS = ["http://127.0.0.1:1"]
        running(person)
        with pytest.raises(Conflict, match="opens another one"):
            credentials.save(person, "rented", secret=SAME_ACCOUNT, base_url="http://127.0.0.1:1/")

    def test_after_they_ended_any_key_is_taken(self, person: Any, world: World, credential: Credential) -> None:
        job = running(person)
        world.end(job.attempts.get().name)
        look(job)
        assert credentials.save(person, "rented", secret=OTHER_KEY).account_name == "bob@lab"

    def test_a_submission_that_read_the_old_key_makes_no_machine_with_it(
        self, person: Any, world: World, credential: Credential
    ) -> None:
        job = make_job(person, provider="rented", start=True)
        lease = claim(job.pk, JobStatus.QUEUED)
        assert lease is not None
        credentials.save(person, "rented", secret=OTHER_KEY)
        with pytest.raises(LeaseLost, match="replaced or removed"):
            submission._write_intent(job.pk, lease, credential)
        assert not Attempt.objects.exists()
        assert world.machines == {}


class TestCheckAgain:
    def test_a_key_that_works_is_said_to(self, credential: Credential) -> None:
        accounts.refused(credential, AuthError("It was revoked."))
        Credential.objects.update(account_name="", checked_at=None)
        credential.refresh_from_db()
        checked = credentials.check_again(credential)
        assert (checked.problem, checked.account_name) == ("", "ada@lab")
        assert checked.checked_at is not None

    def test_a_refusal_is_kept_as_a_sentence(self, world: World, credential: Credential) -> None:
        del world.accounts[KEY]
        assert "does not accept this key" in credentials.check_again(credential).problem

    def test_without_an_answer_nothing_changes(self, world: World, credential: Credential) -> None:
        answers_with(world, Unavailable("Rented does not answer."))
        with pytest.raises(Unavailable):
            credentials.check_again(credential)
        assert Credential.objects.get().problem == ""

    def test_a_key_that_cannot_be_opened_is_said_to_be_so(self, settings: Any, credential: Credential) -> None:
        settings.STOKER_ENCRYPTION_KEYS = [b"k" * 32]
        with pytest.raises(Unavailable, match="ENCRYPTION_KEY"):
            credentials.check_again(credential)


class TestRemove:
    def test_a_key_nobody_needs_is_gone(self, credential: Credential) -> None:
        credentials.remove(credential)
        assert not Credential.objects.exists()

    def test_not_while_a_machine_may_run(self, person: Any, world: World, credential: Credential) -> None:
        job = running(person)
        with pytest.raises(Conflict, match="only its key can end them"):
            credentials.remove(credential)
        world.end(job.attempts.get().name)
        look(job)
        credentials.remove(credential)
        assert job.attempts.get().credential is None

    def test_not_while_the_sweep_sees_one(self, credential: Credential) -> None:
        sighting = sight(credential, "m1")
        with pytest.raises(Conflict):
            credentials.remove(credential)
        MachineSighting.objects.update(gone_at=Now())
        credentials.remove(credential)
        sighting.refresh_from_db()
        assert sighting.credential is None

    def test_the_history_of_a_machine_that_was_seen_under_two_keys_is_joined(
        self, person: Any, credential: Credential
    ) -> None:
        for key in (KEY, SAME_ACCOUNT):
            again = credentials.save(person, "rented", secret=key)
            seen = sight(again, "m1", gone_at=Now())
            ProviderCall.objects.create(sighting=seen, op="stop")
            credentials.remove(again)
        assert MachineSighting.objects.get().calls.count() == 2

    def test_a_job_that_waits_ends_with_a_sentence_when_its_key_was_removed(
        self, person: Any, credential: Credential
    ) -> None:
        job = make_job(person, provider="rented", start=True)
        credentials.remove(credential)
        submission.submit(job.pk)
        job.refresh_from_db()
        assert (job.status, job.reason) == (JobStatus.FAILED, "provider_auth")
        assert "Add one under Settings" in job.error_message


@pytest.mark.django_db(transaction=True)
def test_first_keys_saved_side_by_side_make_one_row(world: World) -> None:
    person = make_user()
    together = threading.Barrier(4, timeout=20)
    world.fault = lambda operation, account: (together.wait(), None)[1] if operation == "check" else None
    problems: list[Exception] = []

    def save(key: str) -> None:
        try:
            credentials.save(person, "rented", secret=key)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=save, args=(key,)) for key in (KEY, SAME_ACCOUNT) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert accounts.open_account(Credential.objects.get()).secret in (KEY, SAME_ACCOUNT)


def sight(credential: Credential, external_id: str, **fields: Any) -> MachineSighting:
    return MachineSighting.objects.create(
        provider="rented", credential=credential, name="stoker-x", external_id=external_id, verdict="orphan",
        state="running", first_seen_at=Now(), last_seen_at=Now(), **fields,
    )  # fmt: skip


class TestDiscretion:
    """What comes out of a provider never holds the secret of its account."""

    SECRET = "rpa_secret-1234"

    def provider(self) -> Any:
        return discreet(RentedProvider)(Account("1", self.SECRET))

    def test_it_stays_the_same_kind_of_provider(self, world: World) -> None:
        assert isinstance(self.provider(), RentedProvider)
        assert discreet(RentedProvider).needs_account

    @pytest.mark.parametrize(
        "error", [AuthError(f"Key {SECRET} is wrong."), RuntimeError("a", {"Authorization": f"Bearer {SECRET}"})]
    )
    def test_errors_stay_themselves_without_it(self, world: World, error: Exception) -> None:
        answers_with(world, error)
        with pytest.raises(type(error)) as raised:
            self.provider().check_account()
        assert raised.value is error
        assert self.SECRET not in f"{raised.value}{raised.value!r}"
        assert "[hidden]" in str(raised.value)

    def test_what_led_to_an_error_is_cleaned_too(self, world: World) -> None:
        def fault(operation: str, account: Account) -> None:
            try:
                raise ValueError(account.secret)
            except ValueError as error:
                raise Unavailable("No answer.") from error

        world.fault = fault
        with pytest.raises(Unavailable) as raised:
            self.provider().observe([])
        assert str(raised.value.__cause__) == "[hidden]"

    def test_an_error_that_keeps_its_text_elsewhere_is_replaced(self, world: World) -> None:
        answers_with(world, OSError(5, f"cannot open {self.SECRET}"))
        with pytest.raises(RuntimeError, match=r"OSError: .*\[hidden\]"):
            self.provider().check_account()

    def test_answers_are_cleaned(self, world: World) -> None:
        world.accounts[self.SECRET] = f"account of {self.SECRET}"
        assert self.provider().check_account() == "account of [hidden]"
