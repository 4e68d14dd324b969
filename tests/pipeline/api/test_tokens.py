from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from pipeline.models import ApiToken
from pipeline.models.access import token_hash
from pipeline.services import tokens
from tests.factories import make_running_job

LIST = "/api/tokens/"


def ask(signed_out, token, path="/api/me/", scheme="Bearer"):
    return signed_out.api.get(path, headers={"Authorization": f"{scheme} {token}"})


class TestUse:
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
    def test_a_token_stands_for_its_owner(self, signed_out, things, scheme):
        answer = ask(signed_out, things.token_text, scheme=scheme)
        assert (answer.json()["username"], answer.json()["signed_in_with"]) == ("owner", "token")

    @pytest.mark.parametrize("token", ["", "stk_u_wrong", "x" * 5000, "ü", "a b"])
    def test_a_wrong_token_is_refused(self, signed_out, things, token):
        answer = ask(signed_out, token)
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'
        assert answer.json()["code"] == "unknown_token"

    @pytest.mark.parametrize("headers", [{}, {"Authorization": "Token stk_u_wrong"}])
    def test_without_a_token_the_answer_says_how_to_send_one(self, signed_out, headers):
        answer = signed_out.api.get("/api/me/", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert "Authorization: Bearer <token>" in answer.json()["detail"]

    def test_a_wrong_token_is_refused_whatever_the_session_says(self, owner, things):
        assert owner.api.get("/api/me/", headers={"Authorization": "Bearer stk_u_wrong"}).status_code == 401

    def test_a_revoked_token_is_refused(self, signed_out, things):
        tokens.revoke_token(things.token.pk)
        assert ask(signed_out, things.token_text).json()["code"] == "revoked_token"

    def test_the_token_of_a_closed_account_is_refused(self, signed_out, things):
        things.token.owner.is_active = False
        things.token.owner.save()
        assert ask(signed_out, things.token_text).json()["code"] == "inactive_owner"

    def test_the_token_of_a_training_program_is_refused_with_a_hint(self, signed_out, owner):
        *_, job_token = make_running_job(owner.user)
        answer = ask(signed_out, job_token)
        assert (answer.status_code, answer.json()["code"]) == (401, "job_token")

    def test_a_token_needs_no_csrf_and_a_session_does(self, owner, things):
        strict = Client(enforce_csrf_checks=True)
        path = f"/api/jobs/{things.saved.pk}/start/"
        strict.force_login(owner.user)
        assert strict.post(path).status_code == 403
        assert strict.post(path, headers={"Authorization": f"Bearer {things.token_text}"}).status_code == 202

    def test_the_last_use_is_noted_once_a_minute(self, signed_out, things):
        ask(signed_out, things.token_text)
        first = ApiToken.objects.get(pk=things.token.pk).last_used_at
        ask(signed_out, things.token_text)
        assert ApiToken.objects.get(pk=things.token.pk).last_used_at == first
        ApiToken.objects.update(last_used_at=Now() - timedelta(seconds=61))
        ask(signed_out, things.token_text)
        assert ApiToken.objects.get(pk=things.token.pk).last_used_at > first


class TestManage:
    def test_a_new_token_is_shown_once_and_stored_hashed(self, owner, signed_out):
        answer = owner.api.post(LIST, {"name": "laptop"}, format="json")
        assert answer.status_code == 201
        assert answer["Cache-Control"] == "no-store"
        text = answer.json()["token"]
        row = ApiToken.objects.get()
        assert (row.owner, row.token_hash, row.hint) == (owner.user, token_hash(text), text[-4:])
        assert text not in owner.api.get(LIST).content.decode()
        assert row.token_hash not in owner.api.get(LIST).content.decode()
        assert ask(signed_out, text).status_code == 200

    @pytest.mark.parametrize(
        "body", [{}, {"name": ""}, {"name": "x" * 81}, {"name": "a\nb"}, {"name": "a", "owner": 1}, []]
    )
    def test_a_wrong_request_is_refused(self, owner, body):
        assert owner.api.post(LIST, body, format="json").status_code == 400
        assert not ApiToken.objects.exists()

    def test_a_token_cannot_make_tokens(self, signed_out, things):
        answer = signed_out.api.post(
            LIST, {"name": "x"}, format="json", headers={"Authorization": f"Bearer {things.token_text}"}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "session_needed")

    def test_revoking_twice_keeps_the_first_time(self, owner, things):
        assert owner.api.delete(f"{LIST}{things.token.pk}/").status_code == 204
        first = ApiToken.objects.get().revoked_at
        assert owner.api.delete(f"{LIST}{things.token.pk}/").status_code == 204
        assert ApiToken.objects.get().revoked_at == first is not None

    def test_there_is_a_limit(self, owner, monkeypatch):
        monkeypatch.setattr(tokens, "MAX_LIVE", 1)
        assert owner.api.post(LIST, {"name": "a"}, format="json").status_code == 201
        answer = owner.api.post(LIST, {"name": "b"}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_tokens")

    def test_many_need_no_more_queries_than_one(self, owner):
        counts = []
        for _ in range(2):
            tokens.create_token(owner.user, "x")
            with CaptureQueriesContext(connection) as queries:
                owner.api.get(LIST)
            counts.append(len(queries))
            for _ in range(8):
                tokens.create_token(owner.user, "x")
        assert counts[0] == counts[1]
