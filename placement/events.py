"""The consumer of a fleet's outbox: what a server wrote, ACS knows within a second.

An event only says *which* row to look at. The row itself is read when the event is handled, so order, repetition and delay do no harm.
Taking the events and their effect are one transaction on our own fleet; elsewhere the events are deleted after their effect, and a
crash in between repeats it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

import structlog
from django.db import transaction
from django.utils import timezone

from placement import devices, fleetdb, settling
from placement.fleetdb import Cursor, Event
from placement.models import Cluster, Fleet

log = structlog.get_logger(__name__)

BATCH = 500


def consume(fleet: Fleet, *, limit: int = BATCH) -> int:
    """Handle up to `limit` waiting events. Returns how many there were."""
    now = timezone.now()
    with transaction.atomic(), fleetdb.cursor_of(fleet) as cursor:
        events = fleetdb.take_events(cursor, limit)
        by_cluster: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            by_cluster[event.cluster_id].append(event)
        known = set(Cluster.objects.filter(pk__in=by_cluster).values_list("pk", flat=True))
        for cluster_id in sorted(by_cluster):
            if cluster_id in known:
                _apply(cursor, cluster_id, by_cluster[cluster_id], now=now)
    if events:
        log.info("events_consumed", fleet=fleet.name, events=len(events))
    return len(events)


def _apply(cursor: Cursor, cluster_id: str, events: Iterable[Event], *, now: datetime) -> None:
    keys = {event.key_id for event in events if event.kind == "key.used" and event.key_id is not None}
    nodes = {event.node_id for event in events if event.node_id is not None}
    facts = fleetdb.key_facts(cursor, cluster_id, sorted(keys))
    settling.redeem(cluster_id, [key_id for key_id, fact in facts.items() if fact.used], now=now)
    if nodes:
        seen = fleetdb.nodes(cursor, cluster_id, sorted(nodes))
        gone = nodes - {sighting.node_id for sighting in seen}
        devices.observe(cluster_id, seen, seen_at=now, now=now, complete=False, gone=gone)
