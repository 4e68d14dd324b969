from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from pipeline.models import ProcessBeat

pytestmark = pytest.mark.django_db


def test_healthz_asks_the_database_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert Client().get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(("age", "state"), [(None, "never seen"), (5, "ok"), (61, "late")])
def test_readyz_tells_how_the_background_does(age, state):
    if age is not None:
        ProcessBeat.objects.create(name="beat", at=timezone.now() - timedelta(seconds=age))
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["background"] == state
    assert answer.json()["status"] == ("ok" if state == "ok" else "degraded")


def test_readyz_is_503_without_a_database(monkeypatch, settings):
    from django.db import OperationalError

    def broken(*args, **kwargs):
        raise OperationalError("gone")

    monkeypatch.setattr(connection, "cursor", broken)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "The database does not answer."
