"""What a refused request raises here; the project's exception handler makes problem+json of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rest_framework.exceptions import APIException, ValidationError

from datasets.services import Refused, disk_full
from datasets.storage import StorageFull, disk_full_as_storage_full


class RefusedByService(APIException):
    """Carries a service's sentence with the status that the service chose."""

    def __init__(self, refused: Refused) -> None:
        self.status_code = refused.status
        super().__init__(refused.message, refused.code)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a service's refusal into an answer: status 400 names the field, other statuses stand for themselves."""
    try:
        with disk_full_as_storage_full():
            yield
    except StorageFull:
        raise RefusedByService(disk_full()) from None
    except Refused as refused:
        if refused.status == 400:
            raise ValidationError({refused.field or "non_field_errors": [refused.message]}, refused.code) from None
        raise RefusedByService(refused) from None
