"""Puts the periodic tasks into the database, where operators may edit them. What is there already is left alone."""

from __future__ import annotations

from django.conf import settings
from django.db import connections
from django_celery_beat.models import IntervalSchedule, PeriodicTask


def seed(using: str = "default") -> list[str]:
    """Add the tasks of STOKER_SCHEDULES that are missing, known by their task's name; return the names of those added.

    Messages expire after one interval: after an outage the backlog evaporates instead of running again and again.
    """
    if PeriodicTask._meta.db_table not in connections[using].introspection.table_names():
        return []
    rows = PeriodicTask.objects.using(using)
    known = set(rows.values_list("task", flat=True))
    added = []
    for name, (task, seconds) in settings.STOKER_SCHEDULES.items():
        if task in known:
            continue
        # Not get_or_create: nothing in the table keeps two rows of the same interval apart.
        intervals = IntervalSchedule.objects.using(using)
        interval = intervals.filter(every=seconds, period=IntervalSchedule.SECONDS).first()
        interval = interval or intervals.create(every=seconds, period=IntervalSchedule.SECONDS)
        rows.create(name=name, task=task, interval=interval, expire_seconds=seconds)
        added.append(name)
    return added
