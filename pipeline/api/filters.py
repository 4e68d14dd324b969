from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters
from django import forms
from rest_framework.exceptions import ValidationError

from pipeline.api.pagination import MAX_PAGE_SIZE
from pipeline.models import Job
from pipeline.querysets import JobQuerySet
from pipeline.states import JobStatus

ORDERINGS = (
    "created_at",
    "name",
    "status",
    "progress",
    "current_cost",
    "priority",
    "started_at",
    "completed_at",
    "updated_at",
)


class _Choices(forms.MultipleChoiceField):
    """?status=running&status=queued and ?status=running,queued mean the same."""

    def to_python(self, value: Any) -> list[str]:
        return super().to_python([part for one in value or () for part in str(one).split(",") if part])


class _ChoicesFilter(django_filters.MultipleChoiceFilter):
    field_class = _Choices


class _Day(forms.DateField):
    def clean(self, value: Any) -> Any:
        day = super().clean(value)
        if day is not None and not 2000 <= day.year < 2200:
            raise forms.ValidationError("Choose a day from the year 2000 to 2199.", code="invalid")
        return day


class _DayFilter(django_filters.DateFilter):
    field_class = _Day


class JobFilter(django_filters.FilterSet):
    status = _ChoicesFilter(choices=JobStatus.choices, help_text="One or more of them.")
    provider = django_filters.CharFilter(max_length=32)
    base_model = django_filters.CharFilter(max_length=200, help_text="Exactly this one.")
    dataset = django_filters.UUIDFilter(field_name="dataset_id")
    created_from = _DayFilter(field_name="created_at__date", lookup_expr="gte", help_text="The first day, UTC.")
    created_to = _DayFilter(field_name="created_at__date", lookup_expr="lte", help_text="The last day, UTC.")
    ids = django_filters.CharFilter(
        method="with_ids", max_length=8_000, help_text=f"At most {MAX_PAGE_SIZE} jobs, parted by commas."
    )
    search = django_filters.CharFilter(method="with_text", max_length=200, help_text="Part of a name or a base model.")
    ordering = django_filters.OrderingFilter(fields=[(name, name) for name in ORDERINGS])

    class Meta:
        model = Job
        fields: tuple[str, ...] = ()

    def with_text(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
        return jobs.search(value.strip())

    def with_ids(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
        try:
            ids = [UUID(part.strip()) for part in value.split(",") if part.strip()]
        except ValueError:
            raise ValidationError({name: ["An id is the UUID of a job; part several by commas."]}) from None
        if len(ids) > MAX_PAGE_SIZE:
            raise ValidationError({name: [f"Name at most {MAX_PAGE_SIZE} jobs."]})
        return jobs.filter(pk__in=ids)

    def filter_queryset(self, queryset: Any) -> Any:
        """The id decides where the chosen order leaves two jobs equal, so that pages neither repeat nor skip one."""
        jobs = super().filter_queryset(queryset)
        return jobs.order_by(*(jobs.query.order_by or ("-created_at",)), "pk")
