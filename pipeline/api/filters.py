from __future__ import annotations

from typing import Any

import django_filters
from django import forms

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


class JobFilter(django_filters.FilterSet):
    status = _ChoicesFilter(choices=JobStatus.choices, help_text="One or more of them.")
    provider = django_filters.CharFilter(max_length=32)
    dataset = django_filters.UUIDFilter(field_name="dataset_id")
    search = django_filters.CharFilter(method="with_text", max_length=200, help_text="Part of a name or a base model.")
    ordering = django_filters.OrderingFilter(fields=[(name, name) for name in ORDERINGS])

    class Meta:
        model = Job
        fields: tuple[str, ...] = ()

    def with_text(self, jobs: JobQuerySet, name: str, value: str) -> JobQuerySet:
        return jobs.search(value.strip())

    def filter_queryset(self, queryset: Any) -> Any:
        """The id decides where the chosen order leaves two jobs equal, so that pages neither repeat nor skip one."""
        jobs = super().filter_queryset(queryset)
        return jobs.order_by(*(jobs.query.order_by or ("-created_at",)), "pk")
