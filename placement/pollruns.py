"""The record of every look at a cluster: kept as long as the evidence of what was billed, in a table for each month, and dropped by the month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from placement.models import PollRun
from tenants import clocks

AHEAD = timedelta(days=62)
ROOM = """
select at, placement_make_months((at at time zone 'UTC')::date, (at at time zone 'UTC')::date)
from (select case when %(at)s < now() + interval '62 days' then %(at)s else now() end as at) looked"""


def write(cluster_id: str, *, started_at: datetime, seconds: float, outcome: PollRun.Outcome, **facts: Any) -> PollRun:
    """One look, in its month. Where our clock is months ahead of the database's there is none: that look stands at the database's time."""
    with connection.cursor() as cursor:
        cursor.execute(ROOM, {"at": started_at})
        at, _made = cursor.fetchone()
    return PollRun.objects.create(cluster_id=cluster_id, started_at=at, seconds=seconds, outcome=outcome, **facts)


def make(first: datetime, last: datetime) -> int:
    """Every month from that of `first` to that of `last`, where it is missing. Returns how many tables were made."""
    return _call("select placement_make_months(%s::date, %s::date)", first.astimezone(UTC).date(), last.astimezone(UTC).date())


def make_ahead(*, now: datetime) -> int:
    return make(now, now + AHEAD)


def drop_old(*, now: datetime) -> int:
    """Months beyond their retention, by the database's clock too. Returns how many tables were dropped."""
    return _call("select placement_drop_months(%s::date)", months_ago(clocks.not_ahead(now), settings.POLL_RUN_MONTHS))


def months_ago(now: datetime, months: int) -> date:
    """The first day of the month that came so many before the present one, in UTC."""
    there = now.astimezone(UTC)
    number = there.year * 12 + there.month - 1 - months
    return date(number // 12, number % 12 + 1, 1)


def _call(statement: str, *told: date) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, told)
        return int(cursor.fetchone()[0])
