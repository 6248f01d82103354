"""The months that metering's big tables are cut into: made ahead and on demand, dropped whole when they are held long enough."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from django.conf import settings
from django.db import connection

from placement.pollruns import months_ago
from tenants import clocks

AHEAD = timedelta(days=62)


def make(first: datetime, last: datetime) -> int:
    """Every month from that of `first` to that of `last`, where it is missing. Returns how many tables were made."""
    with connection.cursor() as cursor:
        cursor.execute("select billing_make_months(%s::date, %s::date)", [first.astimezone(UTC).date(), last.astimezone(UTC).date()])
        return int(cursor.fetchone()[0])


def make_ahead(*, now: datetime) -> int:
    return make(now, now + AHEAD)


def horizon(*, now: datetime) -> date:
    """The first day whose sessions are kept for certain: what lies before it cannot be counted again."""
    return months_ago(now, settings.METERING_EVIDENCE_MONTHS)


def horizon_of_sums(*, now: datetime) -> date:
    """The first day whose sums by device are kept for certain."""
    return months_ago(now, settings.METERING_DEVICE_DAY_MONTHS)


def drop_old(*, now: datetime) -> int:
    """Months beyond their retention, by the database's clock too. Returns how many tables were dropped."""
    now = clocks.not_ahead(now)
    evidence, days = horizon(now=now), horizon_of_sums(now=now)
    dropped = 0
    for parent, before in (("billing_session", evidence), ("billing_coverage", evidence), ("billing_deviceday", days)):
        with connection.cursor() as cursor:
            cursor.execute("select billing_drop_months(%s, %s::date)", [parent, before])
            dropped += int(cursor.fetchone()[0])
    return dropped
