"""When each cluster was watched: the ledger of accepted polls, and the gaps in it, in which nobody's time counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

# Rows of one cluster join end to start; where one begins later than the one before it ended, nobody watched.
WATCHED = """
select cluster_id, coalesce(sum(extract(epoch from least(until, %(end)s) - greatest(since, %(start)s))), 0)::bigint, count(*)
from billing_coverage where until > %(start)s and since < %(end)s group by cluster_id order by cluster_id"""
GAPS = """
select ended, began from (
    select lag(until) over (order by until) as ended, since as began from billing_coverage
    where cluster_id = %(cluster)s and until >= %(start)s and since < %(end)s
) pairs where began > ended order by ended"""


@dataclass(frozen=True)
class Watched:
    """How many seconds of a period a cluster was watched, by how many polls."""

    cluster_id: str
    seconds: int
    polls: int


def watched(start: datetime, end: datetime) -> list[Watched]:
    """Every cluster that was polled between `start` and `end`."""
    with connection.cursor() as cursor:
        cursor.execute(WATCHED, {"start": start, "end": end})
        return [Watched(*row) for row in cursor.fetchall()]


def gaps(cluster_id: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when the cluster was not watched, between two polls of the period."""
    with connection.cursor() as cursor:
        cursor.execute(GAPS, {"cluster": cluster_id, "start": start, "end": end})
        return list(cursor.fetchall())
