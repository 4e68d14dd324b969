"""What the list of jobs is narrowed to, as its address says it. What makes no sense there narrows nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest
from django.utils.dateparse import parse_date

from frontend.views.search import search_text
from pipeline.models import Job
from pipeline.querysets import JobQuerySet

MOST_CHOICES = 200


@dataclass(frozen=True)
class Filters:
    text: str = ""
    provider: str = ""
    base_model: str = ""
    dataset: UUID | None = None
    first: date | None = None  # created, in UTC; both days included
    last: date | None = None

    @classmethod
    def of(cls, request: HttpRequest) -> Filters:
        given = request.GET
        return cls(
            text=search_text(request),
            provider=_text(given.get("provider")),
            base_model=_text(given.get("model")),
            dataset=_uuid(given.get("dataset", "")),
            first=day(given.get("from")),
            last=day(given.get("to")),
        )

    @property
    def count(self) -> int:
        """How many of the folded filters are set; the search has its own field in sight."""
        return sum(bool(value) for value in (self.provider, self.base_model, self.dataset, self.first, self.last))

    @property
    def any(self) -> bool:
        return bool(self.text or self.count)

    def apply(self, jobs: JobQuerySet) -> JobQuerySet:
        jobs = jobs.search(self.text)
        if self.provider:
            jobs = jobs.filter(provider=self.provider)
        if self.base_model:
            jobs = jobs.filter(base_model=self.base_model)
        if self.dataset:
            jobs = jobs.filter(dataset=self.dataset)
        if self.first:
            jobs = jobs.filter(created_at__gte=datetime.combine(self.first, time(), UTC))
        if self.last:
            jobs = jobs.filter(created_at__lt=datetime.combine(self.last, time(), UTC) + timedelta(days=1))
        return jobs

    def api_query(self, statuses: Iterable[str], ordering: str) -> str:
        """The same jobs, as the API is asked for them."""
        asked = {
            "status": ",".join(sorted(statuses)),
            "search": self.text,
            "provider": self.provider,
            "base_model": self.base_model,
            "dataset": self.dataset,
            "created_from": self.first,
            "created_to": self.last,
            "ordering": ordering,
        }
        return urlencode({name: str(value) for name, value in asked.items() if value})


def choices(user: Any) -> dict[str, list[tuple[str, str]]]:
    """{"providers", "models", "datasets"}: what a person's jobs have, as (value, label). One query."""
    rows = (
        Job.objects.for_user(user)
        .order_by()
        .values_list("provider", "base_model", "dataset_id", "dataset__name")
        .distinct()
    )
    providers, models, datasets = set(), set(), {}
    for provider, model, dataset_id, dataset in rows:
        providers.add(provider)
        models.add(model)
        datasets[str(dataset_id)] = dataset
    return {
        "providers": [(name, name) for name in sorted(providers)],
        "models": [(name, name) for name in sorted(models, key=str.casefold)][:MOST_CHOICES],
        "datasets": sorted(datasets.items(), key=lambda one: one[1].casefold())[:MOST_CHOICES],
    }


def day(text: str | None) -> date | None:
    """A day of this age, or None."""
    try:
        found = parse_date(text or "")
    except ValueError:  # a day that no month has
        return None
    return found if found and 2000 <= found.year < 2200 else None


def _text(text: str | None) -> str:
    return (text or "").replace("\x00", "").strip()[:200]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
