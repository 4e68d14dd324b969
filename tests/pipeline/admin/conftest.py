from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.pipeline.api.conftest import job_body, ready_dataset, scripted_provider, things

__all__ = ["job_body", "ready_dataset", "scripted_provider", "things"]


@pytest.fixture
def operator(db: Any) -> Client:
    """A browser of somebody who may do everything in the admin."""
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client
