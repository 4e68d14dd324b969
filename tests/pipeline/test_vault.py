"""Sealed values: opened only where they belong, by any key of the ring, and never the same twice."""

from __future__ import annotations

import base64
import os
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from pipeline import accounts, vault
from pipeline.models import Credential
from pipeline.services import rotation
from pipeline.vault import Unopenable
from tests.factories import make_user

OLD, NEW, STRANGE = (bytes([number]) * 32 for number in (1, 2, 3))
ROW = "pipeline_credential:1:7"


@pytest.fixture(autouse=True)
def ring(settings: Any) -> Any:
    settings.STOKER_ENCRYPTION_KEYS = [NEW, OLD]
    return settings


@given(text=st.text())
def test_what_was_sealed_comes_back(text):
    assert vault.unseal(vault.seal(text, ROW), ROW) == text


def test_the_sealed_value_says_nothing():
    blob = vault.seal("rpa_something-secret", ROW)
    assert b"rpa" not in blob
    assert blob[:1] == vault.VERSION
    assert blob[1:5] == vault.key_id(NEW)
    assert NEW not in blob


@pytest.mark.parametrize("elsewhere", ["pipeline_credential:2:7", "pipeline_credential:1:8", "other_table:1:7", ""])
def test_in_another_row_or_of_another_owner_it_stays_closed(elsewhere):
    with pytest.raises(Unopenable, match="belongs to another row"):
        vault.unseal(vault.seal("secret", ROW), elsewhere)


def test_any_change_closes_it():
    blob = vault.seal("secret", ROW)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(Unopenable):
            vault.unseal(bytes(changed), ROW)


@pytest.mark.parametrize("length", [0, 1, 5, 16, 17, 20])
def test_a_piece_of_one_is_none(length):
    with pytest.raises(Unopenable):
        vault.unseal(vault.seal("secret", ROW)[:length], ROW)


def test_a_key_that_left_the_ring_opens_nothing(ring):
    blob = vault.seal("secret", ROW)
    ring.STOKER_ENCRYPTION_KEYS = [STRANGE]
    with pytest.raises(Unopenable, match="not in ENCRYPTION_KEY any more"):
        vault.unseal(blob, ROW)


def test_the_newest_key_seals_and_all_open(ring):
    ring.STOKER_ENCRYPTION_KEYS = [OLD]
    old = vault.seal("secret", ROW)
    ring.STOKER_ENCRYPTION_KEYS = [NEW, OLD]
    new = vault.seal("secret", ROW)
    assert vault.unseal(old, ROW) == vault.unseal(new, ROW) == "secret"
    assert (vault.is_current(old), vault.is_current(new)) == (False, True)


def test_the_same_text_is_never_sealed_the_same_way():
    blobs = {vault.seal("secret", ROW) for _ in range(2000)}
    assert len({blob[5:17] for blob in blobs}) == 2000


def credential(secret: str) -> Credential:
    row = Credential(owner=make_user(), provider="rented")
    row.secret = vault.seal(secret, accounts.bound_to(row))
    row.save()
    return row


@pytest.mark.django_db
def test_a_secret_copied_into_another_row_stays_closed():
    first, second = credential("one"), credential("two")
    Credential.objects.filter(pk=second.pk).update(secret=bytes(first.secret))
    second.refresh_from_db()
    with pytest.raises(accounts.Unavailable, match="cannot be read"):
        accounts.open_account(second)


@pytest.mark.django_db
class TestRotation:
    @pytest.fixture
    def stored(self, ring: Any) -> list[Credential]:
        ring.STOKER_ENCRYPTION_KEYS = [OLD]
        rows = [credential(f"secret {number}") for number in range(5)]
        ring.STOKER_ENCRYPTION_KEYS = [NEW, OLD]
        return rows

    def rotate(self, **options: Any) -> tuple[str, str]:
        out, err = StringIO(), StringIO()
        call_command("rotate_keys", stdout=out, stderr=err, **options)
        return out.getvalue(), err.getvalue()

    def secrets(self) -> list[str]:
        return sorted(accounts.open_account(row).secret for row in Credential.objects.all())

    def test_afterwards_the_old_key_can_go(self, ring, stored, monkeypatch):
        monkeypatch.setattr(rotation, "BATCH", 2)
        out, err = self.rotate()
        assert "5 sealed anew, 0 were sealed with the newest key already" in out
        assert "2 looked at" in err
        ring.STOKER_ENCRYPTION_KEYS = [NEW]
        assert self.secrets() == [f"secret {number}" for number in range(5)]

    def test_a_second_time_there_is_nothing_to_do(self, stored):
        self.rotate()
        before = [bytes(row.secret) for row in Credential.objects.order_by("pk")]
        assert "0 sealed anew, 5 were sealed with the newest" in self.rotate()[0]
        assert [bytes(row.secret) for row in Credential.objects.order_by("pk")] == before

    def test_a_dry_run_changes_nothing(self, stored):
        with CaptureQueriesContext(connection) as queries:
            out, _ = self.rotate(dry_run=True)
        assert "5 would be sealed anew" in out
        assert not any("UPDATE" in query["sql"] for query in queries)

    def test_interrupted_it_goes_on_where_it_was(self, stored, monkeypatch):
        monkeypatch.setattr(rotation, "BATCH", 2)
        tally = rotation.Tally()
        next(rotation.reseal(tally))
        assert tally.resealed == 2
        assert "3 sealed anew, 2 were" in self.rotate()[0]

    def test_a_key_that_was_saved_meanwhile_is_not_overwritten(self, stored, monkeypatch):
        seal = vault.seal

        def saved_meanwhile(text: str, bound_to: str) -> bytes:
            row = Credential.objects.get(pk=bound_to.split(":")[1])
            Credential.objects.filter(pk=row.pk).update(secret=seal("a newer one", bound_to))
            return seal(text, bound_to)

        monkeypatch.setattr(vault, "seal", saved_meanwhile)
        assert "0 sealed anew, 0 were sealed with the newest key already, 5 were saved" in self.rotate()[0]
        assert self.secrets() == ["a newer one"] * 5

    def test_what_cannot_be_opened_is_named_and_left_and_the_rest_is_done(self, ring, stored):
        ring.STOKER_ENCRYPTION_KEYS = [STRANGE]
        lost = credential("lost")
        ring.STOKER_ENCRYPTION_KEYS = [NEW, OLD]
        before = bytes(lost.secret)
        err = StringIO()
        with pytest.raises(CommandError, match=r"1 cannot be opened\. Put the key"):
            call_command("rotate_keys", stdout=StringIO(), stderr=err)
        assert f"The rented key of {lost.owner.get_username()} was left as it is." in err.getvalue()
        lost.refresh_from_db()
        assert bytes(lost.secret) == before
        assert sum(vault.is_current(row.secret) for row in Credential.objects.all()) == 5


def test_a_generated_key_is_one(tmp_path):
    from pipeline.config import home

    key = home.encryption_key(tmp_path)
    assert len(base64.b64decode(key)) == vault.KEY_BYTES
    assert home.encryption_key(tmp_path) == key
    assert os.stat(tmp_path / "encryption_key").st_mode & 0o077 == 0
