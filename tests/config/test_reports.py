from __future__ import annotations

import sys

import pytest
from django.test import RequestFactory
from django.views.debug import get_exception_reporter_filter, technical_500_response

from pipeline.config.reports import DiscreetFilter

SECRET = "Zm9vYmFyYmF6cXV4"


@pytest.fixture
def page(settings) -> str:
    """The detailed error page of a request in which everything holds the secret."""
    settings.DEBUG = True
    settings.STOKER_ENCRYPTION_KEYS = [SECRET.encode()]
    settings.CELERY_BROKER_URL = f"redis://:{SECRET}@host/0"
    settings.DATABASES["default"] |= {"PASSWORD": SECRET}
    request = RequestFactory().get("/x", headers={"Authorization": f"Bearer {SECRET}"})

    def fail(given: str) -> None:
        raise RuntimeError(f"Something broke at https://host/x?api_key={given}")

    try:
        fail(SECRET)
    except RuntimeError:
        return technical_500_response(request, *sys.exc_info()).content.decode()


def test_the_filter_is_in_use():
    assert isinstance(get_exception_reporter_filter(RequestFactory().get("/")), DiscreetFilter)


def test_an_error_page_shows_the_error_and_no_secret(page):
    assert "Something broke at https://host/x?api_key=[hidden]" in page
    assert "STOKER_ENCRYPTION_KEYS" in page
    for line in page.splitlines():
        assert SECRET not in line, line
