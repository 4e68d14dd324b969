"""The operators' view of datasets."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.conftest import Person
from tests.datasets.files import chats, checked, stored

pytestmark = pytest.mark.django_db
LIST = "/admin/datasets/dataset/"


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def test_list_asks_the_database_equally_often_for_one_and_for_many(operator: Client, owner: Person) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert operator.get(LIST).status_code == 200
        return len(captured)

    stored(owner.user, chats(2))
    queries()  # fills the caches of content types and permissions
    one = queries()
    for _ in range(5):
        stored(owner.user, chats(2))
    assert queries() == one


def test_dataset_is_shown_and_cannot_be_added_by_hand(operator: Client, owner: Person) -> None:
    dataset = checked(owner.user, chats(2), "Visible")
    page = operator.get(reverse("admin:datasets_dataset_change", args=[dataset.pk]))
    assert page.status_code == 200
    assert b"Visible" in page.content
    assert operator.get(f"{LIST}add/").status_code == 403


def test_check_again_from_the_list(operator: Client, owner: Person) -> None:
    dataset = checked(owner.user, chats(2))
    answer = operator.post(LIST, {"action": "check_again", "_selected_action": [str(dataset.pk)]}, follow=True)
    assert answer.status_code == 200
    dataset.refresh_from_db()
    assert (dataset.status, dataset.training_ready) == ("uploaded", False)


def test_deleting_from_the_list_removes_the_file(
    operator: Client, owner: Person, django_capture_on_commit_callbacks: Any
) -> None:
    from datasets import storage

    dataset = stored(owner.user, chats(2))
    with django_capture_on_commit_callbacks(execute=True):
        operator.post(LIST, {"action": "delete_selected", "_selected_action": [str(dataset.pk)], "post": "yes"})
    with pytest.raises(FileNotFoundError):
        storage.size_of("lora-datasets", dataset.storage_path)


def test_admin_is_closed_to_others(owner: Person, signed_out: Person) -> None:
    for person in (owner, signed_out):
        assert person.browser.get(LIST).status_code == 302
