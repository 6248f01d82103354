"""A second clock: the database's, against which this host's is held."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def of_database() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
