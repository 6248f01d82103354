"""A second clock: the database's, against which this host's is held."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def not_ahead(now: datetime) -> datetime:
    """What this host's clock says, or what the database's does where ours is ahead of it: what is old by then is not old yet."""
    return min(now, of_database())


def of_database() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
