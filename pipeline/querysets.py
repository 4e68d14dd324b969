"""Every read of jobs that more than one place needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import BooleanField, Case, Exists, OuterRef, Q, Subquery, When

from pipeline.states import ACTIVE, ENDED_EARLY

ATTEMPT_FIELDS = ("n", "state", "external_id", "last_seen_at", "metered_until", "price_per_hour")

if TYPE_CHECKING:
    from pipeline.models import Job  # noqa: F401 - named in a string below


class JobQuerySet(models.QuerySet["Job"]):
    def for_user(self, user: Any) -> Self:
        """The jobs `user` may see: their own. Everyone else's do not exist for them."""
        if not getattr(user, "is_authenticated", False):
            return self.none()
        return self.filter(owner=user)

    def active(self) -> Self:
        return self.filter(status__in=[s.value for s in ACTIVE])

    def with_attempt(self) -> Self:
        """Annotate what `live.state.job_state` needs beside the job.

        `attempt_<field>` of the latest attempt, and `has_checkpoint`: whether it ended early with one stored.
        """
        from pipeline.models import Artifact, Attempt

        latest = Attempt.objects.filter(job=OuterRef("pk")).order_by("-n")
        stored = Artifact.objects.filter(job=OuterRef("pk"), kind="checkpoint", state="stored")
        early = When(status__in=[status.value for status in ENDED_EARLY], then=Exists(stored))
        return self.annotate(
            has_checkpoint=Case(early, default=False, output_field=BooleanField()),
            **{f"attempt_{name}": Subquery(latest.values(name)[:1]) for name in ATTEMPT_FIELDS},
        )

    def search(self, text: str) -> Self:
        return self.filter(Q(name__icontains=text) | Q(base_model__icontains=text)) if text else self
