"""Rows that only mean something for a while."""

from __future__ import annotations

from django.db.models.functions import Now

from pipeline.models import AnsweredRequest, Count
from pipeline.models.requests import KEPT


def forget_due() -> int:
    """Remove answers that are given no more and counts whose time is over; return how many rows went."""
    answers, _ = AnsweredRequest.objects.filter(created_at__lte=Now() - KEPT).delete()
    counts, _ = Count.objects.filter(until__lt=Now()).delete()
    return answers + counts
