"""The one clock that counts: the database's. A worker whose own is wrong ends nothing early and overbills nobody."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """The database's time at this moment, also in the middle of a transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
