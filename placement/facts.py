"""The engine's facts, read from the database: one statement for one cluster or for ten thousand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection

from placement.engine.facts import ClusterFacts

# `age` counts sampling intervals; a cluster without metrics has none, and one that was never heard from is as old as its registration
FACTS = """
select c.cluster_id, c.region, c.service_class, c.residency, c.kind, c.state, c.capacity, c.committed, c.tenants, c.max_tenants,
    coalesce(h.sessions, 0), coalesce(c.max_sessions, c.capacity), h.measured,
    case when c.metrics_url <> '' then greatest(0, extract(epoch from %(now)s - coalesce(h.at, c.registered_at)) / %(interval)s)::float end,
    coalesce(h.breaker_open, false), coalesce(c.reserved_for_id::text, ''),
    coalesce(greatest(0, c.committed - h.promised), 0)
from placement_cluster c left join placement_heat h on h.cluster_id = c.cluster_id
where c.registered_at is not null and (%(everything)s or c.cluster_id = any(%(only)s))
"""


def load(*, now: datetime, only: Sequence[str] | None = None) -> list[ClusterFacts]:
    """Every registered cluster, or those of `only` that still are."""
    with connection.cursor() as cursor:
        return read(cursor, now=now, only=only)


def read(cursor: Any, *, now: datetime, only: Sequence[str] | None = None) -> list[ClusterFacts]:
    """The same through a cursor of the caller's."""
    cursor.execute(FACTS, {"now": now, "interval": settings.LOAD_SECONDS, "everything": only is None, "only": list(only or ())})
    return [ClusterFacts(*row) for row in cursor.fetchall()]


def version(cursor: Any) -> int:
    """The membership's version; 0 before the first cluster."""
    cursor.execute("select version from placement_topology")
    row = cursor.fetchone()
    return int(row[0]) if row else 0
