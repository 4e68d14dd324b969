"""One order for many jobs. Each job is a transaction of its own: what is refused for one holds up no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User

from pipeline.models import Job
from pipeline.services.errors import Conflict
from pipeline.services.jobs import request_cancel

MOST = 200  # jobs an order

ORDERED, BEFORE, REFUSED, NOT_FOUND = "ordered", "ordered_before", "refused", "not_found"


@dataclass(frozen=True)
class Answer:
    """What came of the order for one job. `code` and `message` say why it was refused; blank otherwise."""

    id: UUID
    result: str
    code: str = ""
    message: str = ""


def cancel_many(owner: User, ids: Sequence[UUID]) -> list[Answer]:
    """Order the end of each of the owner's jobs; an answer for each id, in the order asked for.

    When this returns, every stop that is `ordered` is stored: it happens even if this process dies now.
    """
    own = set(Job.objects.for_user(owner).filter(pk__in=ids).values_list("pk", flat=True))
    actor = owner.get_username()
    return [_cancel(job_id, actor) if job_id in own else _nothing_there(job_id) for job_id in dict.fromkeys(ids)]


def _cancel(job_id: UUID, actor: str) -> Answer:
    try:
        return Answer(job_id, ORDERED if request_cancel(job_id, actor=actor) else BEFORE)
    except Conflict as conflict:
        return Answer(job_id, REFUSED, conflict.code, str(conflict))
    except Job.DoesNotExist:  # deleted since the look above
        return _nothing_there(job_id)


def _nothing_there(job_id: UUID) -> Answer:
    return Answer(job_id, NOT_FOUND, "not_found", "There is no such job.")
